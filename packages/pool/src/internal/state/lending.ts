/**
 * Who gets what, first come first served, and what becomes of what is given back.
 */
import type { CloseReason } from "../../PoolEvent.ts"
import type { Verdict } from "../../Recycler.ts"
import type { Rejection } from "./rejection.ts"
import * as Saturation from "./saturation.ts"
import * as Slot from "./slot.ts"
import type { State } from "./state.ts"
import * as Supply from "./supply.ts"
import type { Waiter } from "./waiters.ts"
import * as Waiters from "./waiters.ts"

/** The fast way: the slot that was used last, if one is idle, needs no check, and nobody waits. @internal */
export const take = <A>(state: State<A>, now: number, holder: unknown): Slot.Slot<A> | undefined => {
  if (state.waiters.size > 0) return undefined
  const { idle } = state
  let top = idle.length - 1
  // Past its lifetime, and the timer is late.
  while (top >= 0 && idle[top]!.expiresAt <= now) top--
  const slot = idle[top]
  if (slot === undefined || isStale(state, now, slot)) return undefined
  state.unstack(slot)
  lend(state, now, slot, holder)
  return slot
}

/** The slow way: a place in the queue, or the reason why there is none. @internal */
export const enqueue = <A>(state: State<A>, now: number, holder: unknown): Waiter<A> | Rejection => {
  const rejection = refusal(state, now, holder)
  if (rejection !== undefined) {
    state.totals.rejected++
    return rejection
  }
  state.totals.queued++
  state.warm = true
  const deadline = now + state.config.acquireTimeout
  const waiter = state.waiters.push(now, deadline, holder)
  state.remind(deadline)
  Supply.provide(state, now)
  return waiter
}

/**
 * The waiter goes away, whatever it was given meanwhile. A slot handed to it is offered on in the same transition; a
 * connect begun on its behalf goes on for the others. @internal
 */
export const cancel = <A>(state: State<A>, now: number, waiter: Waiter<A>): void => {
  const { slot, status } = waiter
  waiter.status = Waiters.Gone
  waiter.slot = undefined
  if (status === Waiters.Waiting) {
    state.waiters.remove(waiter)
  } else if (status === Waiters.Granted && slot !== undefined && slot.status === Slot.Leased) {
    state.totals.acquired--
    if (slot.uses > 1) state.totals.reused--
    slot.uses--
    slot.holder = undefined
    place(state, now, slot)
  }
  Saturation.relieve(state, now)
}

/**
 * The end of a lease. `verdict` is the recycler's word; `undefined` says that a reset has to run first. False when the
 * lease is over already, in which case nothing changes. @internal
 */
export const release = <A>(
  state: State<A>,
  now: number,
  slot: Slot.Slot<A>,
  lease: number,
  verdict: Verdict | undefined
): boolean => {
  if (slot.status !== Slot.Leased || slot.lease !== lease) return false
  slot.holder = undefined
  if (verdict === undefined && retirement(state, now, slot) === undefined) {
    state.move(now, slot, Slot.Resetting)
    state.limit(slot, now + state.config.resetTimeout)
  } else if (verdict !== undefined && verdict._tag === "Close") {
    Supply.close(state, now, slot, slot.doomed ?? "recycled", verdict.detail)
  } else {
    place(state, now, slot)
  }
  Saturation.relieve(state, now)
  return true
}

/** The end of a lease whose resource must not be lent again. @internal */
export const discard = <A>(
  state: State<A>,
  now: number,
  slot: Slot.Slot<A>,
  lease: number,
  reason: CloseReason,
  detail: unknown
): void => {
  if (slot.status !== Slot.Leased || slot.lease !== lease) return
  Supply.close(state, now, slot, slot.doomed ?? reason, detail)
  Saturation.relieve(state, now)
}

/** Close it now, or as soon as it is given back. @internal */
export const invalidate = <A>(state: State<A>, now: number, slot: Slot.Slot<A>, why?: unknown): void =>
  Supply.doom(state, now, slot, "invalidated", why)

/** Nobody holds the slot any more: it is closed, or given to the oldest waiter, or kept. @internal */
export const place = <A>(state: State<A>, now: number, slot: Slot.Slot<A>): void => {
  const reason = retirement(state, now, slot)
  if (reason !== undefined) {
    Supply.close(state, now, slot, reason)
    return
  }
  const waiter = state.waiters.head
  if (waiter === undefined) {
    state.move(now, slot, Slot.Idle)
    state.idle.push(slot)
    state.remind(slot.expiresAt)
    state.remindIdle()
    return
  }
  state.waiters.remove(waiter)
  lend(state, now, slot, waiter.holder)
  waiter.status = Waiters.Granted
  waiter.slot = slot
  state.commands.push({ _tag: "Wake", waiter })
  Saturation.relieve(state, now)
}

const lend = <A>(state: State<A>, now: number, slot: Slot.Slot<A>, holder: unknown): void => {
  state.move(now, slot, Slot.Leased)
  slot.holder = holder
  slot.lease++
  slot.warned = false
  state.totals.acquired++
  if (slot.uses++ > 0) state.totals.reused++
  state.remind(now + state.config.leakAfter)
}

/** Why the slot must not be lent again, if it must not. */
const retirement = <A>(state: State<A>, now: number, slot: Slot.Slot<A>): CloseReason | undefined => {
  if (slot.doomed !== undefined) return slot.doomed
  if (state.phase !== "open") return "drained"
  if (slot.generation !== state.generation) return "expired"
  if (slot.uses >= state.config.maxUses) return "maxUses"
  if (slot.expiresAt <= now) return "lifetime"
  if (state.live > state.max) return "resized"
  return undefined
}

const isStale = <A>({ config }: State<A>, now: number, slot: Slot.Slot<A>): boolean =>
  config.checkAfter !== Number.POSITIVE_INFINITY && slot.since + config.checkAfter <= now

/** Why a caller can't even wait. */
const refusal = <A>(state: State<A>, now: number, holder: unknown): Rejection | undefined => {
  const { counts, trouble } = state
  if (state.phase !== "open") return { _tag: "Closed" }
  if (trouble?.down === true && state.open === 0 && (counts[Slot.Connecting] > 0 || now < trouble.nextAttempt)) {
    return { _tag: "Unavailable", trouble }
  }
  if (counts[Slot.Leased] >= state.max && holdsAll(state, holder)) return { _tag: "Nested", held: counts[Slot.Leased] }
  return Saturation.isFull(state) ? Saturation.refuse(state, now) : undefined
}

/** Whether every slot is this holder's own lease: then waiting would never end. Stops at the first that isn't. */
const holdsAll = <A>(state: State<A>, holder: unknown): boolean => {
  if (holder === undefined) return false
  for (const slot of state.slots) if (slot.status !== Slot.Leased || slot.holder !== holder) return false
  return true
}
