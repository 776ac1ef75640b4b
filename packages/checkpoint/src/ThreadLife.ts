/**
 * What a checkpointer does with whole threads: copies, forks, an overview, and the end of what is no longer wanted.
 *
 * It does not decide when to do so: you do.
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type * as Option from "effect/Option"
import type * as Stream from "effect/Stream"
import type { Key, Metadata } from "./Checkpoint.ts"
import type { ThreadExists } from "./CheckpointError.ts"
import type { OperationError } from "./Checkpointer.ts"
import type { Report, RunOptions } from "./Retention.ts"

/**
 * What `forkAt` takes.
 *
 * @since 0.1.0
 * @category models
 */
export interface ForkOptions {
  readonly threadId: string
  /** Of a sub-graph; the empty string by default. */
  readonly namespace?: string | undefined
  /** The checkpoint to go on from. */
  readonly checkpointId: string
  /**
   * The id of the fork. Default: a fresh one, greater than all ids of the thread and namespace if the latest one is a UUID
   * of version 6, so that the fork is the latest checkpoint.
   */
  readonly id?: string | undefined
  /** What is said about the fork, over what is said about its source and `source: "fork"`. Default: nothing more. */
  readonly metadata?: Metadata | undefined
}

/**
 * What `threads` takes. What is left out narrows nothing.
 *
 * @since 0.1.0
 * @category models
 */
export interface ThreadsOptions {
  /** Only threads after this one. */
  readonly after?: string | undefined
  /** Only threads before this one. */
  readonly before?: string | undefined
  /** Only threads with a checkpoint whose metadata contain this, as in `list`. */
  readonly filter?: Metadata | undefined
  /** How many at most. */
  readonly limit?: number | undefined
  /** How many are looked at at once. Default 100: their sizes are summed up by the server, which takes its time. */
  readonly pageSize?: number | undefined
}

/**
 * A thread at a glance.
 *
 * @since 0.1.0
 * @category models
 */
export interface ThreadSummary {
  readonly threadId: string
  /** How many there are, in all namespaces. */
  readonly checkpoints: number
  /** Size of its values and pending writes, before the server compresses them. */
  readonly bytes: number
  /** The greatest `ts` of its checkpoints. */
  readonly lastActivity: string
}

/**
 * What `prune` and `prunePlan` take: what may go. A checkpoint is removed only if all of it allows for that.
 *
 * @since 0.1.0
 * @category models
 */
export interface PruneOptions {
  readonly threadId: string
  /** So many of each namespace stay, those with the greatest ids. Default 1: the latest. */
  readonly keepLast?: number | undefined
  /** What is younger stays, by its `ts`, wherever that is an ISO date. Default: age doesn't matter. */
  readonly olderThan?: Duration.DurationInput | undefined
  /**
   * Channels that are made up of what was written to them, beside those that LangGraph counts in the metadata (under
   * `counters_since_delta_snapshot`): what it takes to make up their values stays. Default: none.
   */
  readonly deltaChannels?: ReadonlyArray<string> | undefined
  /**
   * How long a value stays that no checkpoint names any more; the first `prune` of the thread after that
   * removes it. Default 2 minutes: longer than any statement takes, so that a put that was on its way finds its values. 0
   * removes it at once: for threads that nobody writes to.
   */
  readonly grace?: Duration.DurationInput | undefined
  /** Checkpoints, or values, in one transaction. Default 1,000: others wait for the thread's lock that long. */
  readonly batchSize?: number | undefined
}

/**
 * What `prune` has removed, or would remove.
 *
 * @since 0.1.0
 * @category models
 */
export interface PruneReport {
  readonly checkpoints: number
  readonly pendingWrites: number
  readonly values: number
  /** Size of these values and writes, before the server compresses them. */
  readonly bytes: number
  /** Values that no checkpoint names any more and that wait for the end of their grace. In a plan they are in `values`. */
  readonly waiting: number
}

/**
 * The options that hold where none are given.
 *
 * @since 0.1.0
 * @category options
 */
export const defaults: {
  readonly keepLast: number
  readonly grace: Duration.DurationInput
  readonly batchSize: number
} = { keepLast: 1, grace: "2 minutes", batchSize: 1000 }

/**
 * What happens to whole threads. Laws that hold for every layer, beside those of `Checkpointer.Service`:
 *
 * 1. After `copyThread` the target has what the source has: in all namespaces each checkpoint with its id, parent,
 *    metadata, values and pending writes. From then on neither sees what is done to the other.
 * 2. `copyThread` of a thread that isn't there, or onto itself, is a no-op. Onto a thread that has anything it fails with
 *    `ThreadExists` and changes nothing: two histories under one name would show each other's values.
 * 3. `forkAt` gives a checkpoint that goes on from another one, with its values, which both share, and none of its pending
 *    writes. A checkpoint from before version 4 is forked beside itself: what was sent to its tasks lies with its parent.
 *    An unknown checkpoint gives `None`, and nothing is written.
 * 4. `deleteForRuns` removes the checkpoints whose metadata have one of the ids under `run_id`, in all threads and
 *    namespaces, with their pending writes. A checkpoint whose parent is removed has none from then on. It is atomic for
 *    each thread. Values that no checkpoint names any more are left to the next `prune`. If such a run had written what a channel's `deltaHistory` is
 *    made up of, then that is gone.
 * 5. `threads` gives each thread that has checkpoints once, in the order of the database's collation (in memory: by code
 *    point). It reads page by page, as `list` does.
 * 6. What decides on what it finds (copy, fork, removal of runs) does so alone for its thread: each other operation on that
 *    thread that takes the thread's lock comes wholly before or wholly after it, from whichever process. Plain `put` and
 *    `putWrites` take no lock: within one checkpointer they keep their order around it, and of another process's it sees
 *    those that were committed.
 * 7. `prune` removes the checkpoints that its options let go, the oldest first, with their pending writes. It never removes
 *    the latest of a namespace; a checkpoint that nothing continues and that has pending writes, because nobody has taken
 *    these in yet; writes that came before their checkpoint; the parent of a checkpoint from before version 4 that stays, if
 *    something was sent from there; nor the ancestors that `deltaHistory` needs for a channel of a checkpoint that stays.
 *    (An ancestor that stays for one channel's sake need not have the history of another one.) A checkpoint whose parent
 *    is removed has none from then on.
 * 8. Every checkpoint that is listed can be read whole, whatever is pruned, copied, forked and put at the same time. A value
 *    goes only when no checkpoint of its thread and namespace names it, and has not for the time of the grace. So a put that
 *    names a value without bringing it is safe in each case: if it continues a checkpoint that stays, because that one names
 *    the value, too; if it continues one that was removed, because it then fails with `ThreadDeleted`, as a late one does
 *    after `deleteThread`; and if it was on its way while that one was removed, because of the grace. A grace of 0 gives up
 *    the last of these. A put without a parent is a beginning and has to bring all of its values.
 * 9. `prunePlan` tells what `prune` with these options and no grace would remove if nothing else happened. It changes nothing.
 * 10. `retain` makes a pass over the threads that it finds due, those that have waited longest first, as `Retention.run` tells.
 *    Of each one it does what `prune` would do, or removes all of its checkpoints and pending writes at once, if the latest
 *    `ts` is older than the thread's time to live. Its values then go after the grace, so law 8 holds for that, too; and what
 *    still continues such a checkpoint fails with `ThreadDeleted`. Two passes never deal with a thread at the same time.
 * 11. A time to live ends with its thread. It may be set before the thread begins, and is kept for as long as it lasts.
 *     A copy has none.
 *
 * @since 0.1.0
 * @category models
 */
export interface Service {
  /**
   * Copies all of a thread to a new one. It is not tried again when the connection is lost: the copy may be there by then.
   */
  readonly copyThread: (sourceId: string, targetId: string) => Effect.Effect<void, OperationError | ThreadExists>
  /** Goes on from an earlier checkpoint: adds one like it to the same thread and namespace, and gives its key. */
  readonly forkAt: (options: ForkOptions) => Effect.Effect<Option.Option<Key>, OperationError>
  /** Removes what certain runs have left behind; unknown ids are a no-op. */
  readonly deleteForRuns: (runIds: ReadonlyArray<string>) => Effect.Effect<void, OperationError>
  /** Gives an overview of the threads. Reads as far as it is consumed. */
  readonly threads: (options?: ThreadsOptions) => Stream.Stream<ThreadSummary, OperationError>
  /**
   * Thins out the history of a thread. An unknown thread is a no-op. Done in short transactions: when it is interrupted or
   * fails half-way, what is removed is removed whole, and the next call goes on.
   */
  readonly prune: (options: PruneOptions) => Effect.Effect<PruneReport, OperationError>
  /** Tells what `prune` would remove. */
  readonly prunePlan: (options: PruneOptions) => Effect.Effect<PruneReport, OperationError>
  /**
   * Sets how long after its last activity a thread is to be deleted by retention, in the place of the policy's `expireAfter`.
   * `Infinity`: never. `undefined`: as the policy says.
   */
  readonly setTtl: (threadId: string, ttl: Duration.DurationInput | undefined) => Effect.Effect<void, OperationError>
  /** The thread's own time to live, if it has one. */
  readonly ttl: (threadId: string) => Effect.Effect<Option.Option<Duration.Duration>, OperationError>
  /** One pass of retention: see `Retention.run`. */
  readonly retain: (options: RunOptions) => Effect.Effect<Report, OperationError>
}
