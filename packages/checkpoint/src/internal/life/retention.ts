/**
 * One pass of retention over the rows of any layer: threads are claimed a few at a time, and dealt with one after the other.
 * Between two statements it holds nothing: no connection, and no transaction.
 *
 * @internal
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type { CheckpointerError, InvalidIdentifier } from "../../CheckpointError.ts"
import type * as Retention from "../../Retention.ts"
import type { PruneReport } from "../../ThreadLife.ts"
import * as Order from "../order.ts"
import * as Record from "../record.ts"
import type { WriteError } from "../store.ts"
import * as Pruning from "./pruning.ts"
import type { Candidate } from "./retentionStore.ts"
import { isSaturated, Tally } from "./retentionTally.ts"
import * as Turns from "./retentionTurns.ts"
import type { LifeStore } from "./store.ts"

type Store = LifeStore<CheckpointerError, WriteError>

/** @internal */
export const defaults: Required<Omit<Retention.RunOptions, "policy" | "after" | "before" | "from">> = {
  grace: "2 minutes",
  every: 0,
  maxThreads: 1000,
  timeLimit: "30 seconds",
  stopWithin: "5 seconds",
  batchSize: 1000,
  dryRun: false
}

/** @internal */
export const retain = Effect.fnUntraced(function* (
  store: Store,
  given: Retention.RunOptions
): Effect.fn.Return<Retention.Report, InvalidIdentifier | WriteError> {
  const options: Turns.Options = { ...defaults, ...definedIn(given) }
  yield* check(options)
  const clock = yield* Effect.clock
  const start = clock.unsafeCurrentTimeNanos()
  const elapsed = () => Duration.nanos(clock.unsafeCurrentTimeNanos() - start)
  const isOver = () => Duration.greaterThanOrEqualTo(elapsed(), options.timeLimit)
  const maxThreads = Math.max(1, Math.floor(options.maxThreads) || 1)
  const tally = new Tally(options.dryRun)
  const turns = options.dryRun ? Turns.looking(store, options) : Turns.claiming(store, options)
  const report = (ended: Retention.Report["ended"]) => tally.report(ended, elapsed(), turns.next())
  const one = (thread: Candidate) => tally.observe(thread.threadId, retainOne(store, options, thread))

  for (;;) {
    if (tally.threads >= maxThreads) return report("MaxThreads")
    if (isOver()) return report("TimeLimit")
    const isLast = yield* Effect.catchAll(
      Effect.flatMap(turns.take(Math.min(claimed, maxThreads - tally.threads)), ({ isLast, threads }) =>
        Effect.as(
          each(threads, () => tally.isStuck || isOver(), one, turns.release, options.stopWithin),
          isLast
        )
      ),
      (error) => {
        if (tally.threads === 0 && !isSaturated(error)) return Effect.fail(error)
        tally.stuck(error)
        return Effect.succeed(false)
      }
    )
    if (tally.isStuck) return report(tally.isSaturated ? "Saturated" : "Failed")
    if (isLast) return report("Complete")
  }
})

/** Threads that are claimed at once: few, so that several workers share them evenly. */
const claimed = 20

const check = ({ after, before, from, policy }: Retention.RunOptions): Effect.Effect<void, InvalidIdentifier> =>
  Effect.zipRight(
    Effect.forEach(
      [after, before, from].filter((bound) => bound !== undefined),
      (bound) => Record.valid([["threadId", bound]]),
      { discard: true }
    ),
    Effect.forEach(policy.prune?.deltaChannels ?? [], (channel) => Record.valid([["channel", channel, "mayBeEmpty"]]), {
      discard: true
    })
  )

type Outcome = PruneReport & { readonly deleted: boolean }

const nothing: Outcome = { deleted: false, checkpoints: 0, pendingWrites: 0, values: 0, bytes: 0, waiting: 0 }

const retainOne = Effect.fnUntraced(function* (
  store: Store,
  { batchSize, dryRun, grace, policy }: Turns.Options,
  { lastActivity, threadId, ttl }: Candidate
): Effect.fn.Return<Outcome, InvalidIdentifier | WriteError> {
  const lifetime = ttl ?? (policy.expireAfter === undefined ? undefined : Duration.toMillis(policy.expireAfter))
  const query = yield* Pruning.toQuery({ ...policy.prune, keepLast: keepLast(policy), threadId, batchSize })
  const before = lifetime === undefined ? "" : Pruning.timeAgo(yield* Clock.currentTimeMillis, lifetime)
  if (lastActivity !== "" && Order.codePoints(lastActivity, before) < 0) {
    if (dryRun) return { ...(yield* store.expirePlan(threadId)), deleted: true, waiting: 0 }
    // Somebody may have gone on with it by now.
    const gone = yield* store.expire(threadId, before)
    if (gone !== undefined) {
      const collected = yield* Pruning.collect(store, query, grace)
      return { ...collected, ...gone, bytes: gone.bytes + collected.bytes, deleted: true }
    }
  }
  // Of most threads nothing goes: one statement and no lock tells so.
  const plan = yield* store.prunePlan(query)
  if (plan.checkpoints + plan.values === 0) return nothing
  if (dryRun) return { ...plan, deleted: false, waiting: 0 }
  if (plan.checkpoints === 0) return { ...nothing, ...(yield* Pruning.collect(store, query, grace)) }
  return { ...(yield* Pruning.prune(store, query, grace)), deleted: false }
})

/** Without anything about pruning all checkpoints stay, and only values that none of them names may go. */
const keepLast = ({ prune }: Retention.Policy): number | undefined =>
  prune === undefined ? 2 ** 31 - 1 : prune.keepLast

/** One after the other, until it is enough. What was not begun is given back. */
const each = (
  threads: ReadonlyArray<Candidate>,
  isEnough: () => boolean,
  use: (thread: Candidate) => Effect.Effect<void>,
  release: Turns.Turns["release"],
  stopWithin: Duration.DurationInput
): Effect.Effect<void, CheckpointerError> => {
  let done = 0
  const giveBack = Effect.suspend(() => {
    const ids = threads.map(({ threadId }) => threadId)
    return ids.length === 0 ? Effect.void : release(ids.slice(0, done), ids.slice(done))
  })
  return Effect.uninterruptibleMask((restore) =>
    Effect.matchCauseEffect(
      Effect.whileLoop({
        while: () => done < threads.length && !isEnough(),
        body: () => whole(restore, use(threads[done]!), stopWithin),
        step: () => {
          done++
        }
      }),
      {
        onFailure: (cause) => Effect.zipRight(Effect.ignore(bounded(giveBack, stopWithin)), Effect.failCause(cause)),
        onSuccess: () => restore(giveBack)
      }
    )
  )
}

/** Who interrupts it waits until it has come to its end, but no longer than that. */
const whole = (
  restore: (effect: Effect.Effect<void>) => Effect.Effect<void>,
  effect: Effect.Effect<void>,
  stopWithin: Duration.DurationInput
): Effect.Effect<void> =>
  Effect.flatMap(Effect.forkDaemon(Effect.interruptible(effect)), (fiber) =>
    Effect.onInterrupt(restore(Fiber.join(fiber)), () =>
      Effect.zipRight(bounded(Fiber.await(fiber), stopWithin), Fiber.interrupt(fiber))
    )
  )

/** In a fiber of its own, because in a region that can't be interrupted nothing can be timed out either. */
const bounded = <A, E>(effect: Effect.Effect<A, E>, limit: Duration.DurationInput): Effect.Effect<unknown, E> =>
  Effect.flatMap(Effect.forkDaemon(Effect.interruptible(Effect.timeoutOption(effect, limit))), Fiber.join)

const definedIn = (given: Retention.RunOptions) =>
  Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined)) as Retention.RunOptions & {
    readonly [K in keyof typeof defaults]: NonNullable<Retention.RunOptions[K]>
  }
