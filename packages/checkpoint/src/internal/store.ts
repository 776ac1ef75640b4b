/**
 * What the layers have in common: a checkpointer is a store of rows behind one door, where values are encoded and
 * identifiers are checked. So all layers store the same things and refuse the same things.
 *
 * @internal
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { Key } from "../Checkpoint.ts"
import type { CheckpointerError, CheckpointerOverloaded, LeaseLost, ThreadDeleted } from "../CheckpointError.ts"
import type * as Checkpointer from "../Checkpointer.ts"
import type * as Codec from "../Codec.ts"
import * as DeltaHistory from "./deltaHistory.ts"
import * as Hold from "./lease/hold.ts"
import type { LeaseStore } from "./lease/lease.ts"
import * as Life from "./life/service.ts"
import type { LifeStore } from "./life/store.ts"
import * as Listing from "./listing.ts"
import * as Operation from "./operation.ts"
import * as PendingSends from "./pendingSends.ts"
import * as Record from "./record.ts"
import type * as Rows from "./rows.ts"
import * as Settled from "./settled.ts"

/** One namespace of one thread. @internal */
export type Place = Pick<Key, "threadId" | "namespace">

/** Which checkpoints a page holds, newest first. @internal */
export interface PageQuery {
  /** All threads without one. */
  readonly threadId: string | undefined
  /** All namespaces without one. */
  readonly namespace: string | undefined
  readonly checkpointId: string | undefined
  /** Text of a JSON object, fit for JSONB, that the stored metadata contain. */
  readonly filter: string | undefined
  /** Only what comes after all checkpoints of this id, or after this one. */
  readonly after: string | Key | undefined
  readonly size: number
  readonly values: boolean
  readonly writes: boolean
}

/** Takes and gives rows. Each operation is atomic; what writes may fail with `W`. @internal */
export interface Store<E, W = E> {
  readonly put: (rows: Rows.PutRows) => Effect.Effect<void, W>
  readonly putWrites: (writes: Rows.WritesRows) => Effect.Effect<void, W>
  readonly commit: (commit: Rows.CommitRows) => Effect.Effect<void, W>
  readonly deleteThread: (threadId: string) => Effect.Effect<void, W>
  /** The latest checkpoint without an id. */
  readonly get: (place: Place, checkpointId: string | undefined) => Effect.Effect<Rows.Found | undefined, E>
  /** Ordered by id, then thread, then namespace, all by code point and from the greatest down. */
  readonly page: (query: PageQuery) => Effect.Effect<ReadonlyArray<Rows.Found>, E>
  /** The writes to one channel at each of the keys, in the order of the keys. */
  readonly writesTo: (
    keys: ReadonlyArray<Key>,
    channel: string
  ) => Effect.Effect<ReadonlyArray<ReadonlyArray<Rows.WriteRow>>, E>
  /**
   * The ancestors of a checkpoint, the latest without an id, from its parent on; in a circle each of them once. It may
   * end where each of the channels has had a value. Blobs and writes are of these channels only.
   */
  readonly ancestors: (
    place: Place,
    checkpointId: string | undefined,
    channels: ReadonlyArray<string>
  ) => Effect.Effect<ReadonlyArray<DeltaHistory.Ancestor>, E>
}

/** What can go wrong with a write. @internal */
export type WriteError = ThreadDeleted | LeaseLost | CheckpointerError | CheckpointerOverloaded

/** @internal */
export const toService = (
  codec: Codec.Service,
  store: Store<CheckpointerError, WriteError> & LifeStore<CheckpointerError, WriteError>,
  leases: LeaseStore<CheckpointerError>
): Checkpointer.Service => ({
  ...Life.toService(codec, store),
  ...Hold.toService(leases),
  put: (options) =>
    Operation.run(
      "put",
      () => Operation.attributes({ ...options, checkpointId: options.checkpoint.id }),
      (tell) =>
        Settled.flatMap(Record.fromPut(codec, options), (rows) => {
          tell.values(rows.blobs)
          const { expectHead } = options
          const stored =
            expectHead === undefined
              ? store.put(rows)
              : Life.commitAt(store, "put", { put: rows, writes: [] }, expectHead)
          return Effect.as(stored, Record.keyOf(rows.checkpoint))
        })
    ),
  putWrites: (options) =>
    Operation.run(
      "putWrites",
      () => Operation.attributes(options),
      (tell) =>
        Settled.flatMap(Record.fromPutWrites(codec, options), (writes) => {
          tell.values(writes.rows)
          return writes.rows.length === 0 ? Effect.void : store.putWrites(writes)
        })
    ),
  commit: (options) =>
    Operation.run(
      "commit",
      () => Operation.attributes({ ...options, checkpointId: options.checkpoint.id }),
      (tell) =>
        Settled.flatMap(Record.fromCommit(codec, options), (commit) => {
          const { put, writes } = commit
          tell.values([...put.blobs, ...writes.flatMap(({ rows }) => rows)])
          const { expectHead } = options
          const stored =
            expectHead !== undefined
              ? Life.commitAt(store, "commit", commit, expectHead)
              : writes.length === 0
                ? store.put(put)
                : store.commit(commit)
          return Effect.as(stored, Record.keyOf(put.checkpoint))
        })
    ),
  get: (options) =>
    Operation.run(
      "get",
      () => Operation.attributes(options),
      (tell) =>
        Settled.flatMap(Record.fromGet(options), (place) =>
          Effect.flatMap(store.get(place, options.checkpointId), (found) => {
            if (found === undefined) return Effect.succeedNone
            tell.values([...found.blobs, ...found.writes])
            return Settled.flatMap(PendingSends.attach(store, [found]), ([whole = found]) =>
              Settled.flatMap(Record.toTuple(codec, whole), (tuple) => Effect.succeed(Option.some(tuple)))
            )
          })
        )
    ),
  list: (options = {}) => Listing.list(codec, store, options),
  deltaHistory: (options) =>
    Operation.run(
      "deltaHistory",
      () => Operation.attributes(options),
      (tell) =>
        Effect.flatMap(DeltaHistory.check(options), (place) => {
          const channels = [...new Set(options.channels)]
          if (channels.length === 0) return Effect.succeed({})
          return Effect.flatMap(store.ancestors(place, options.checkpointId, channels), (ancestors) => {
            tell.count(ancestors.length)
            tell.values(ancestors.flatMap(({ blobs, writes }) => [...blobs, ...writes]))
            return DeltaHistory.fromAncestors(codec, channels, ancestors)
          })
        })
    ),
  deleteThread: (threadId) =>
    Operation.run(
      "deleteThread",
      () => Operation.listAttributes({ threadId }),
      () => Effect.zipRight(Record.valid([["threadId", threadId]]), store.deleteThread(threadId))
    )
})
