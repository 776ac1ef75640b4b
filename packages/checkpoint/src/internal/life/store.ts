/** @internal */
import type * as Effect from "effect/Effect"
import type { StaleHead, ThreadExists } from "../../CheckpointError.ts"
import type { PruneReport, ThreadSummary } from "../../ThreadLife.ts"
import type { CheckpointRow, CommitRows } from "../rows.ts"
import type { Place } from "../store.ts"
import type { RetentionStore } from "./retentionStore.ts"

/** Makes the fork's row out of its source's and the latest id of their place. @internal */
export type Fork = (source: CheckpointRow, latestId: string) => CheckpointRow

/** Which threads a page holds, from the first one on. @internal */
export interface ThreadsQuery {
  readonly after: string | undefined
  readonly before: string | undefined
  /** Text of a JSON object, fit for JSONB, that the stored metadata of one checkpoint contain. */
  readonly filter: string | undefined
  readonly size: number
}

/** What of a thread may go. @internal */
export interface PruneQuery {
  readonly threadId: string
  readonly keepLast: number
  /** What has this `ts` or a greater one stays. */
  readonly before: string | undefined
  readonly deltaChannels: ReadonlyArray<string>
  readonly size: number
}

/** What of a thread's values that no checkpoint names may go. @internal */
export interface CollectQuery {
  readonly threadId: string
  /** In milliseconds. */
  readonly grace: number
  readonly size: number
}

/** What is done to whole threads. What writes may fail with `W`. @internal */
export interface LifeStore<E, W = E> extends RetentionStore<E, W> {
  /** Only if that is the latest id; `null`: if there is none. */
  readonly commitAt: (
    name: "put" | "commit",
    commit: CommitRows,
    head: string | null
  ) => Effect.Effect<void, W | StaleHead>
  readonly copyThread: (sourceId: string, targetId: string) => Effect.Effect<void, W | ThreadExists>
  /** The id of the fork, if its source is there. */
  readonly fork: (place: Place, checkpointId: string, fork: Fork) => Effect.Effect<string | undefined, W>
  readonly deleteForRuns: (runIds: ReadonlyArray<string>) => Effect.Effect<void, W>
  /** Each thread of the page: its id alone, or its summary if the filter lets it through. */
  readonly threads: (
    query: ThreadsQuery
  ) => Effect.Effect<ReadonlyArray<Pick<ThreadSummary, "threadId"> | ThreadSummary>, E>
  /** Removes the oldest checkpoints that may go, with their writes, and tells how many went. */
  readonly prune: (query: PruneQuery) => Effect.Effect<Omit<PruneReport, "values" | "waiting">, W>
  /** Removes values that no checkpoint names, and remembers those whose grace is not over. */
  readonly collect: (query: CollectQuery) => Effect.Effect<Pick<PruneReport, "values" | "bytes" | "waiting">, W>
  readonly prunePlan: (query: PruneQuery) => Effect.Effect<Omit<PruneReport, "waiting">, E>
}
