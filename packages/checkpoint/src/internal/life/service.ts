/**
 * What is done to whole threads, over the rows of any layer: options are checked, forks are made, pages are asked for.
 *
 * @internal
 */
import * as Chunk from "effect/Chunk"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import * as Checkpoint from "../../Checkpoint.ts"
import { type CheckpointerError, InvalidIdentifier, type StaleHead } from "../../CheckpointError.ts"
import type { OperationError } from "../../Checkpointer.ts"
import type * as Codec from "../../Codec.ts"
import type * as ThreadLife from "../../ThreadLife.ts"
import { defaults } from "../../ThreadLife.ts"
import type { Filter } from "../filter.ts"
import * as Listing from "../listing.ts"
import * as Operation from "../operation.ts"
import * as Order from "../order.ts"
import * as Record from "../record.ts"
import type { CommitRows } from "../rows.ts"
import type { Store, WriteError } from "../store.ts"
import * as Fork from "./fork.ts"
import * as Pruning from "./pruning.ts"
import * as Retention from "./retention.ts"
import type { LifeStore, ThreadsQuery } from "./store.ts"

/** @internal */
export const toService = (
  codec: Codec.Service,
  store: Store<CheckpointerError, WriteError> & LifeStore<CheckpointerError, WriteError>
): ThreadLife.Service => ({
  copyThread: (sourceId, targetId) =>
    Operation.run(
      "copyThread",
      () => ({ ...Operation.listAttributes({ threadId: sourceId }), "checkpoint.target_thread_id": targetId }),
      () =>
        Effect.zipRight(
          Effect.zip(Record.valid([["sourceId", sourceId]]), Record.valid([["targetId", targetId]])),
          sourceId === targetId ? Effect.void : store.copyThread(sourceId, targetId)
        )
    ),
  forkAt: (options) =>
    Operation.run(
      "forkAt",
      () => Operation.attributes(options),
      () =>
        Effect.gen(function* () {
          const place = yield* Record.fromGet(options)
          if (options.id !== undefined)
            yield* Record.valid([
              ["threadId", options.threadId],
              ["id", options.id]
            ])
          const said = yield* Record.encodeObject(codec, options.metadata ?? {}, { part: "metadata", channel: "" })
          const { id: freshId, ts } = yield* Checkpoint.make()
          const checkpointId = yield* store.fork(place, options.checkpointId, (source, latestId) =>
            Fork.make(source, options.id ?? Checkpoint.after(freshId, latestId), ts, said)
          )
          return Option.map(Option.fromNullable(checkpointId), (checkpointId) => ({ ...place, checkpointId }))
        })
    ),
  deleteForRuns: (runIds) =>
    Operation.run(
      "deleteForRuns",
      () => ({ "checkpoint.runs": runIds.length }),
      () =>
        Effect.zipRight(
          Effect.forEach(runIds, (runId) => Record.valid([["runId", runId]]), { discard: true }),
          runIds.length === 0 ? Effect.void : store.deleteForRuns([...new Set(runIds)])
        )
    ),
  threads: (options = {}) => threads(codec, store, options),
  prune: (options) =>
    Operation.run(
      "prune",
      () => Operation.listAttributes(options),
      (tell) =>
        Effect.tap(
          Effect.flatMap(Pruning.toQuery(options), (query) =>
            Pruning.prune(store, query, options.grace ?? defaults.grace)
          ),
          ({ checkpoints }) => Effect.sync(() => tell.count(checkpoints))
        )
    ),
  prunePlan: (options) =>
    Operation.run(
      "prunePlan",
      () => Operation.listAttributes(options),
      () =>
        Effect.flatMap(Pruning.toQuery(options), (query) =>
          Effect.map(store.prunePlan(query), (plan): ThreadLife.PruneReport => ({ ...plan, waiting: 0 }))
        )
    ),
  setTtl: (threadId, ttl) =>
    Operation.run(
      "setTtl",
      () => Operation.listAttributes({ threadId }),
      () =>
        Effect.zipRight(
          Record.valid([["threadId", threadId]]),
          store.setTtl(threadId, ttl === undefined ? undefined : Duration.toMillis(ttl))
        )
    ),
  ttl: (threadId) =>
    Operation.run(
      "ttl",
      () => Operation.listAttributes({ threadId }),
      () =>
        Effect.zipRight(
          Record.valid([["threadId", threadId]]),
          Effect.map(store.ttl(threadId), (ttl) => Option.map(Option.fromNullable(ttl), Duration.millis))
        )
    ),
  retain: (options) =>
    Operation.run(
      "retain",
      () => ({}),
      (tell) =>
        Effect.tap(Retention.retain(store, options), ({ checkpoints }) => Effect.sync(() => tell.count(checkpoints)))
    )
})

/** Refuses what could not become the latest. @internal */
export const commitAt = (
  store: LifeStore<CheckpointerError, WriteError>,
  name: "put" | "commit",
  commit: CommitRows,
  head: string | null
): Effect.Effect<void, WriteError | InvalidIdentifier | StaleHead> => {
  const { checkpointId } = commit.put.checkpoint
  if (head !== null && Order.codePoints(checkpointId, head) <= 0) {
    return new InvalidIdentifier({ field: "checkpointId", reason: "NotAfterHead", value: checkpointId.slice(0, 64) })
  }
  return store.commitAt(name, commit, head)
}

const threads = (
  codec: Codec.Service,
  store: Store<CheckpointerError, WriteError> & LifeStore<CheckpointerError, WriteError>,
  options: ThreadLife.ThreadsOptions
): Stream.Stream<ThreadLife.ThreadSummary, OperationError> => {
  const { after, before, limit = Number.POSITIVE_INFINITY, pageSize = defaultPageSize } = options
  const bounds = [after, before].filter((bound) => bound !== undefined)
  const checked = Effect.zipRight(
    Effect.forEach(bounds, (bound) => Record.valid([["threadId", bound]]), { discard: true }),
    Listing.toFilter(codec, options.filter)
  )
  const page = (query: ThreadsQuery) =>
    Operation.run(
      "threads",
      () => ({}),
      () => store.threads(query)
    )
  const size = Math.max(1, Math.floor(pageSize) || 1)
  const pages = (filter: Filter | undefined) =>
    Stream.paginateChunkEffect(after, (after) =>
      Effect.map(page({ after, before, filter: filter?.stored, size }), (rows) => [
        Chunk.unsafeFromArray(rows.filter((row): row is ThreadLife.ThreadSummary => "checkpoints" in row)),
        rows.length < size ? Option.none<string>() : Option.map(Option.fromNullable(rows.at(-1)), (row) => row.threadId)
      ])
    )
  const all = Stream.unwrap(
    Effect.map(checked, (filter) =>
      // What the server finds for such a filter may be too much: then the metadata themselves are looked at.
      filter?.matches === undefined
        ? pages(filter)
        : Stream.filterEffect(pages(filter), ({ threadId }) =>
            Effect.map(
              Stream.runCount(
                Listing.list(codec, store, { threadId, filter: options.filter, limit: 1, values: false, writes: false })
              ),
              (found) => found > 0
            )
          )
    )
  )
  return limit === Number.POSITIVE_INFINITY ? all : Stream.take(all, Math.max(0, Math.floor(limit) || 0))
}

const defaultPageSize = 100
