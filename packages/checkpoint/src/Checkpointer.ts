/**
 * The service that keeps checkpoints: its contract, and the layer in memory, which is the specification of all others.
 *
 * It stores what it is given and finds it again. It does not run graphs, merge states, or decide on versions.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Option from "effect/Option"
import type * as Stream from "effect/Stream"
import type { ChannelHistory, ChannelVersions, Checkpoint, CheckpointTuple, Key, Metadata } from "./Checkpoint.ts"
import type {
  CheckpointerError,
  CheckpointerOverloaded,
  InvalidIdentifier,
  LeaseLost,
  SerializationError,
  StaleHead,
  ThreadDeleted
} from "./CheckpointError.ts"
import * as Codec from "./Codec.ts"
import * as MemoryLeases from "./internal/lease/memory.ts"
import * as MemoryStore from "./internal/memoryStore.ts"
import * as Store from "./internal/store.ts"
import type * as ThreadLife from "./ThreadLife.ts"
import type * as ThreadLock from "./ThreadLock.ts"

/**
 * What can go wrong with a single operation.
 *
 * @since 0.1.0
 * @category errors
 */
export type OperationError =
  | InvalidIdentifier
  | SerializationError
  | StaleHead
  | ThreadDeleted
  | LeaseLost
  | CheckpointerError
  | CheckpointerOverloaded

/**
 * What `put` takes.
 *
 * @since 0.1.0
 * @category models
 */
export interface PutOptions {
  readonly threadId: string
  /** Of a sub-graph; the empty string by default. */
  readonly namespace?: string | undefined
  readonly checkpoint: Checkpoint
  readonly metadata: Metadata
  /** The checkpoint that this one continues; none by default. */
  readonly parentId?: string | undefined
  /**
   * Stores it only if this is the latest checkpoint of the thread and namespace, as `get` would give it (`null`: if there is
   * none), and fails with `StaleHead` otherwise. Its own id has to be a greater one. It costs a short transaction. Default:
   * it is stored in any case.
   */
  readonly expectHead?: string | null | undefined
  /** The channels whose values are new since the parent, with their versions. Only these values are written. */
  readonly newVersions: ChannelVersions
}

/**
 * What one task has written.
 *
 * @since 0.1.0
 * @category models
 */
export interface TaskWrites {
  readonly taskId: string
  /** Where the task stands in the graph; the empty string by default. */
  readonly taskPath?: string | undefined
  /** In the task's order. None is a no-op. */
  readonly writes: ReadonlyArray<{ readonly channel: string; readonly value: unknown }>
}

/**
 * What `putWrites` takes.
 *
 * @since 0.1.0
 * @category models
 */
export interface PutWritesOptions extends TaskWrites {
  readonly threadId: string
  /** Of a sub-graph; the empty string by default. */
  readonly namespace?: string | undefined
  /** The checkpoint that the task works on. It need not be there yet. */
  readonly checkpointId: string
}

/**
 * What `commit` takes.
 *
 * @since 0.1.0
 * @category models
 */
export interface CommitOptions extends PutOptions {
  /** What tasks have written in this thread and namespace, on top of the checkpoint itself unless they name another one. */
  readonly writes: ReadonlyArray<TaskWrites & { readonly checkpointId?: string | undefined }>
}

/**
 * What `get` takes.
 *
 * @since 0.1.0
 * @category models
 */
export interface GetOptions {
  readonly threadId: string
  /** Of a sub-graph; the empty string by default. */
  readonly namespace?: string | undefined
  /** The latest checkpoint by default. */
  readonly checkpointId?: string | undefined
}

/**
 * What `list` takes. What is left out narrows nothing.
 *
 * @since 0.1.0
 * @category models
 */
export interface ListOptions {
  /** All threads by default. */
  readonly threadId?: string | undefined
  /** All namespaces by default; the outermost graph's is the empty string. */
  readonly namespace?: string | undefined
  /** Only checkpoints of this id: one for each thread and namespace that has it. */
  readonly checkpointId?: string | undefined
  /**
   * What the metadata contain, as `metadata @> filter` means it in Postgres: each key with a value that is equal, or,
   * for objects and arrays, contains it. A key whose value is `undefined` asks for nothing.
   */
  readonly filter?: Metadata | undefined
  /** Only checkpoints with smaller ids than this one, compared by code point. */
  readonly before?: string | undefined
  /** How many at most. */
  readonly limit?: number | undefined
  /** `false`: the values of channels are not read, and `channel_values` is empty. */
  readonly values?: boolean | undefined
  /** `false`: pending writes are not read, and `pendingWrites` is empty. */
  readonly writes?: boolean | undefined
  /** How many are read at once. Default 32: few round trips, and a consumer that stops early has read little in vain. */
  readonly pageSize?: number | undefined
}

/**
 * What `deltaHistory` takes.
 *
 * @since 0.1.0
 * @category models
 */
export interface DeltaHistoryOptions extends GetOptions {
  /** None give an empty history. */
  readonly channels: ReadonlyArray<string>
}

/**
 * What a checkpointer does; what it does with whole threads has laws of its own in `ThreadLife.Service`, and so have locks,
 * in `ThreadLock.Service`. Laws that hold for every layer, for checkpoints of one thread and namespace:
 *
 * 1. After a `put` has succeeded, `get` of its id gives its checkpoint, metadata and parent, until it is put again.
 *    A value read back equals the value put, with what the {@link Codec} says about types; it is a copy.
 * 2. A `put` is whole or not at all, for each reader and after each failure.
 * 3. `get` without an id gives the checkpoint with the greatest id, compared by code point. Whether it was put last
 *    does not matter.
 * 4. A `put` writes the values of the channels in `newVersions`. For other channels of `channel_versions` a reader
 *    gets the value that was put with that version, by whichever checkpoint. Of a version that is put twice the first
 *    value stays.
 * 5. A channel in `newVersions` without a value has none for readers, even if another version has.
 * 6. The value of a channel without a version in `channel_versions` is kept with its checkpoint.
 * 7. The same id put again replaces the checkpoint and its metadata; the parent stays.
 * 8. Threads don't see each other, nor do namespaces of one thread.
 * 9. Pending writes are found with their checkpoint, whichever came first, in the order of task path, task id and
 *    index, compared by code point. The index is the place among the task's writes, except for LangGraph's special
 *    channels: `__error__` -1, `__scheduled__` -2, `__interrupt__` -3, `__resume__` -4.
 * 10. Of writes with the same task and index the first stays; at an index below zero the last does.
 * 11. What can't be kept is refused before anything is written: an identifier with `InvalidIdentifier`, a value with
 *     `SerializationError`.
 * 12. `list` gives what `get` would give, from the greatest id down, compared by code point; equal ids in the order of
 *     their threads and namespaces, also from the greatest down. It reads page by page and holds nothing between two
 *     pages, so that a consumer may use this service for each element. A page is one moment; the list as a whole is not.
 * 13. `deltaHistory` follows the parents of a checkpoint. For each channel it gives the value at the nearest ancestor
 *     that has one, and the pending writes to the channel of that ancestor and of those after it, the oldest first. The
 *     pending writes of the checkpoint itself are not among them. Where parents go round in a circle it goes round once.
 * 14. Checkpoints before version 4 are given as if they were of today: what was sent to their tasks, which lies with
 *     the writes of their parent, is the value of `__pregel_tasks`.
 * 15. `commit` does what `put` and then `putWrites` for each task would do, all of it or nothing.
 * 16. `deleteThread` leaves nothing of a thread, in any namespace, and touches no other thread. What comes too late
 *     does not bring it back: a put whose parent is not there, or writes whose checkpoint is not there, fail with
 *     `ThreadDeleted` if that id is not greater than all that were deleted. A put of what is there itself does not come too
 *     late: it may be made again after its parent was pruned. A checkpoint without a parent begins the thread anew. In a
 *     database this is remembered for seven days.
 * 17. Of all that expect the same head, one succeeds. Who asks again because the connection was lost succeeds if the first
 *     attempt had. A put that expects nothing is not held up by this: one that is on its way at the same moment is not seen.
 *
 * @since 0.1.0
 * @category models
 */
export interface Service extends ThreadLife.Service, ThreadLock.Service {
  /** Stores a checkpoint and gives its key. Atomic and durable when it succeeds. */
  readonly put: (options: PutOptions) => Effect.Effect<Key, OperationError>
  /** Stores what a task has written on top of a checkpoint. Atomic and durable when it succeeds. */
  readonly putWrites: (options: PutWritesOptions) => Effect.Effect<void, OperationError>
  /** Stores a checkpoint together with what tasks have written. Atomic and durable when it succeeds. */
  readonly commit: (options: CommitOptions) => Effect.Effect<Key, OperationError>
  /** Finds a checkpoint: by its id, or the latest one. */
  readonly get: (options: GetOptions) => Effect.Effect<Option.Option<CheckpointTuple>, OperationError>
  /** Finds checkpoints, the newest first. Reads as far as it is consumed. */
  readonly list: (options?: ListOptions) => Stream.Stream<CheckpointTuple, OperationError>
  /** Finds what it takes to make up the values of channels that are not stored at each step. In one round trip. */
  readonly deltaHistory: (
    options: DeltaHistoryOptions
  ) => Effect.Effect<{ readonly [channel: string]: ChannelHistory }, OperationError>
  /**
   * Removes all checkpoints, values and writes of a thread; one that isn't there is a no-op. It is not tried again when
   * the connection is lost, because by then others may have begun the thread anew: call it again if that is wanted.
   */
  readonly deleteThread: (threadId: string) => Effect.Effect<void, OperationError>
}

/**
 * The checkpointer of an application. {@link Service} has its laws.
 *
 * @since 0.1.0
 * @category context
 */
export class Checkpointer extends Context.Tag("@checkpool/checkpoint/Checkpointer")<Checkpointer, Service>() {}

/**
 * A checkpointer whose checkpoints live as long as it does. For tests, and for programs that need no durability.
 *
 * @since 0.1.0
 * @category constructors
 */
export const makeMemory: Effect.Effect<Service> = Effect.map(Codec.Codec, (codec) => {
  const leases = MemoryLeases.make()
  return Store.toService(codec, MemoryStore.make(leases), leases)
})

/**
 * A layer with {@link makeMemory}.
 *
 * @example
 * ```ts
 * import { Checkpoint, Checkpointer } from "@checkpool/checkpoint"
 * import { Effect, Option } from "effect"
 *
 * const program = Effect.gen(function* () {
 *   const checkpointer = yield* Checkpointer.Checkpointer
 *   const versions = { count: 1 }
 *   const checkpoint = yield* Checkpoint.make({ channel_values: { count: 42 }, channel_versions: versions })
 *   yield* checkpointer.put({ threadId: "thread-1", checkpoint, metadata: {}, newVersions: versions })
 *   const latest = yield* checkpointer.get({ threadId: "thread-1" })
 *   return Option.map(latest, (tuple) => tuple.checkpoint.channel_values.count)
 * })
 *
 * Effect.runPromise(Effect.provide(program, Checkpointer.layerMemory)).then((count) => {
 *   if (!Option.contains(count, 42)) throw new Error("lost")
 * })
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layerMemory: Layer.Layer<Checkpointer> = Layer.effect(Checkpointer, makeMemory)
