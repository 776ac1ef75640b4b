/**
 * `use` and `get`: from asking for a resource to giving it back.
 *
 * Whatever lies between "slot taken" and "its return is certain" runs in an uninterruptible region; only waiting, the
 * hook and the user's own effect are interruptible. A waiter is handed its slot in its own cell, not in the value that
 * resumes it: an interrupt in between finds the slot in the cell and gives it back.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import type { PoolError } from "../../PoolError.ts"
import { HookError } from "../../PoolError.ts"
import type { Verdict } from "../../Recycler.ts"
import { close, keep } from "../../Recycler.ts"
import type { Rejection } from "../state/rejection.ts"
import * as Slot from "../state/slot.ts"
import type { State } from "../state/state.ts"
import * as Transition from "../state/transitions.ts"
import * as Waiters from "../state/waiters.ts"
import type { Driver } from "./driver.ts"
import type { Step } from "./jobs.ts"
import type { News } from "./news.ts"
import * as Rejections from "./rejections.ts"

/** What borrowing needs of the interpreter. @internal */
export interface Pool<A> {
  readonly driver: Pick<Driver<A, never, never>, "config" | "onAcquire" | "recycler">
  readonly state: State<A>
  readonly news: News
  readonly jobs: { readonly reset: (slot: Slot.Slot<A>, reset: Effect.Effect<Verdict, unknown>) => void }
  /** Whether a lease's beginning has to be noted. If nobody asks for it, the fast way saves a reading of the clock. */
  readonly timed: boolean
  readonly now: () => number
  readonly step: Step<A>
  readonly follow: () => void
}

/** @internal */
export type Restore = <B, E, R>(effect: Effect.Effect<B, E, R>) => Effect.Effect<B, E, R>

/** @internal */
export const use = <A, B, E, R>(
  pool: Pool<A>,
  f: (resource: A) => Effect.Effect<B, E, R>
): Effect.Effect<B, E | PoolError, R> => useMask(pool, (resource, restore) => restore(f(resource)))

/** @internal */
export const useMask = <A, B, E, R>(
  pool: Pool<A>,
  f: (resource: A, restore: Restore) => Effect.Effect<B, E, R>
): Effect.Effect<B, E | PoolError, R> =>
  Effect.uninterruptibleMask((restore) => {
    const slot = take(pool)
    return slot === undefined || pool.driver.onAcquire !== undefined
      ? slowly(pool, slot, restore, (slot) => lease(pool, slot, restore, f))
      : lease(pool, slot, restore, f)
  })

/** @internal */
export const get = <A>(pool: Pool<A>): Effect.Effect<A, PoolError, Scope.Scope> =>
  Effect.uninterruptibleMask((restore) => slowly(pool, take(pool), restore, (slot) => scoped(pool, slot)))

const take = <A>(pool: Pool<A>): Slot.Slot<A> | undefined => {
  const began = pool.timed ? pool.now() : 0
  const slot = Transition.take(pool.state, began, currentFiber())
  if (slot === undefined) return undefined
  pool.follow()
  if (pool.news.timesWaits) pool.news.acquired(pool.now() - began)
  return slot
}

const currentFiber = () => Option.getOrUndefined(Fiber.getCurrentFiber())

/** What has to be waited for before a lease: a slot, if there is none at hand, and the hook, if there is one. */
const slowly = <A, B, E, R>(
  pool: Pool<A>,
  slot: Slot.Slot<A> | undefined,
  restore: Restore,
  onSlot: (slot: Slot.Slot<A>) => Effect.Effect<B, E, R>
): Effect.Effect<B, E | PoolError, R> => {
  const { onAcquire } = pool.driver
  const next =
    onAcquire === undefined
      ? onSlot
      : (slot: Slot.Slot<A>) => Effect.zipRight(hook(pool, slot, restore, onAcquire), onSlot(slot))
  return slot === undefined ? wait(pool, restore, next) : next(slot)
}

const wait = <A, B, E, R>(
  pool: Pool<A>,
  restore: Restore,
  onSlot: (slot: Slot.Slot<A>) => Effect.Effect<B, E, R>
): Effect.Effect<B, E | PoolError, R> => {
  const { state } = pool
  const waiter = Transition.enqueue(state, pool.now(), currentFiber())
  pool.follow()
  if ("_tag" in waiter) return refuse(pool, waiter)
  const woken = Effect.async<void>((resume) => {
    if (waiter.status === Waiters.Waiting) waiter.resume = resume
    else resume(Effect.void)
  })
  return Effect.matchCauseEffect(restore(woken), {
    onFailure: (cause): Effect.Effect<B, E | PoolError, R> => {
      pool.step((state, now) => Transition.cancel(state, now, waiter))
      return Effect.failCause(cause)
    },
    onSuccess: (): Effect.Effect<B, E | PoolError, R> => {
      const { rejection, slot } = waiter
      // Or a drain without grace has taken it back before this fiber went on.
      if (slot === undefined || slot.status !== Slot.Leased) return refuse(pool, rejection ?? { _tag: "Closed" })
      if (pool.news.timesWaits) pool.news.acquired(pool.now() - waiter.since)
      return onSlot(slot)
    }
  })
}

const refuse = <A>(pool: Pool<A>, rejection: Rejection) =>
  Effect.fail(Rejections.toError(pool.state, pool.now(), rejection))

const hook = <A>(
  pool: Pool<A>,
  slot: Slot.Slot<A>,
  restore: Restore,
  onAcquire: (resource: A) => Effect.Effect<unknown, unknown>
): Effect.Effect<void, HookError> => {
  const { lease } = slot
  const began = pool.now()
  return Effect.matchCauseEffect(restore(Effect.suspend(() => onAcquire(slot.resource as A))), {
    onFailure: (cause) => {
      const took = pool.now() - began
      const error = Cause.squash(cause)
      pool.news.released(took)
      pool.step((state, now) => Transition.discard(state, now, slot, lease, "hookFailed", error))
      return Cause.isInterruptedOnly(cause)
        ? Effect.failCause(cause as Cause.Cause<never>)
        : Effect.fail(new HookError({ pool: pool.driver.config.name, cause: error, took }))
    },
    onSuccess: () => Effect.void
  })
}

const lease = <A, B, E, R>(
  pool: Pool<A>,
  slot: Slot.Slot<A>,
  restore: Restore,
  f: (resource: A, restore: Restore) => Effect.Effect<B, E, R>
): Effect.Effect<B, E, R> => {
  const { lease } = slot
  let used: Effect.Effect<B, E, R>
  try {
    used = f(slot.resource as A, restore)
  } catch (defect) {
    used = Effect.die(defect)
  }
  return Effect.matchCauseEffect(used, {
    onFailure: (cause) => {
      giveBack(pool, slot, lease)
      return Effect.failCause(cause)
    },
    onSuccess: (value) => {
      giveBack(pool, slot, lease)
      return Effect.succeed(value)
    }
  })
}

const scoped = <A>(pool: Pool<A>, slot: Slot.Slot<A>): Effect.Effect<A, never, Scope.Scope> => {
  const { lease } = slot
  const back = Effect.sync(() => giveBack(pool, slot, lease))
  return Effect.flatMap(Effect.scope, (scope) => Effect.as(Scope.addFinalizer(scope, back), slot.resource as A))
}

const giveBack = <A>(pool: Pool<A>, slot: Slot.Slot<A>, lease: number): void => {
  if (slot.status !== Slot.Leased || slot.lease !== lease) return
  const { state } = pool
  const now = pool.now()
  pool.news.released(now - slot.since)
  const verdict = judge(pool, slot)
  if (Effect.isEffect(verdict)) {
    Transition.release(state, now, slot, lease, undefined)
    // Not if it retires anyway: then it is closing by now.
    if ((slot.status as Slot.Status) === Slot.Resetting) pool.jobs.reset(slot, verdict)
  } else {
    Transition.release(state, now, slot, lease, verdict)
  }
  pool.follow()
}

const judge = <A>(pool: Pool<A>, slot: Slot.Slot<A>): Verdict | Effect.Effect<Verdict, unknown> => {
  if (pool.driver.recycler === undefined) return keep
  try {
    return pool.driver.recycler(slot.resource as A, slot)
  } catch (defect) {
    return close(defect)
  }
}
