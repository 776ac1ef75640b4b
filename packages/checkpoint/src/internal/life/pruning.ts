/**
 * Prunes a thread over the rows of any layer, in short steps.
 *
 * @internal
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { CheckpointerError, InvalidIdentifier } from "../../CheckpointError.ts"
import type * as ThreadLife from "../../ThreadLife.ts"
import { defaults } from "../../ThreadLife.ts"
import * as Record from "../record.ts"
import type { WriteError } from "../store.ts"
import type { LifeStore, PruneQuery } from "./store.ts"

/** @internal */
export const toQuery = (options: ThreadLife.PruneOptions): Effect.Effect<PruneQuery, InvalidIdentifier> => {
  const {
    batchSize = defaults.batchSize,
    deltaChannels = [],
    keepLast = defaults.keepLast,
    olderThan,
    threadId
  } = options
  return Effect.zipRight(
    Record.valid([["threadId", threadId]]),
    Effect.zipRight(
      Effect.forEach(deltaChannels, (channel) => Record.valid([["channel", channel, "mayBeEmpty"]]), { discard: true }),
      Effect.map(Clock.currentTimeMillis, (now) => ({
        threadId,
        keepLast: Math.max(1, Math.floor(keepLast) || 1),
        before: olderThan === undefined ? undefined : timeAgo(now, Duration.toMillis(olderThan)),
        deltaChannels: [...new Set(deltaChannels)],
        size: Math.max(1, Math.floor(batchSize) || 1)
      }))
    )
  )
}

/** As a `ts`. Before the year 0 there are no dates to compare with: nothing is older than the empty string. @internal */
export const timeAgo = (now: number, millis: number): string =>
  now - millis >= yearZero ? new Date(now - millis).toISOString() : ""

const yearZero = -62_167_219_200_000

/** The checkpoints first, then the values that these were the last to name. @internal */
export const prune = Effect.fnUntraced(function* (
  store: LifeStore<CheckpointerError, WriteError>,
  query: PruneQuery,
  grace: Duration.DurationInput
): Effect.fn.Return<ThreadLife.PruneReport, WriteError> {
  let [checkpoints, pendingWrites, bytes] = [0, 0, 0]
  for (let more = true; more; ) {
    const gone = yield* store.prune(query)
    checkpoints += gone.checkpoints
    pendingWrites += gone.pendingWrites
    bytes += gone.bytes
    more = gone.checkpoints === query.size
  }
  const collected = yield* collect(store, query, grace)
  return { ...collected, checkpoints, pendingWrites, bytes: bytes + collected.bytes }
})

/** The values that no checkpoint names. @internal */
export const collect = Effect.fnUntraced(function* (
  store: LifeStore<CheckpointerError, WriteError>,
  { size, threadId }: Pick<PruneQuery, "threadId" | "size">,
  grace: Duration.DurationInput
): Effect.fn.Return<Pick<ThreadLife.PruneReport, "values" | "bytes" | "waiting">, WriteError> {
  let [values, bytes, waiting] = [0, 0, 0]
  for (let more = true; more; ) {
    const gone = yield* store.collect({ threadId, grace: Duration.toMillis(grace), size })
    values += gone.values
    bytes += gone.bytes
    waiting = gone.waiting
    more = gone.values === size
  }
  return { values, bytes, waiting }
})
