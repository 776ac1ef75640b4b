/** @internal */
import type * as Effect from "effect/Effect"
import type { PruneReport } from "../../ThreadLife.ts"

/** A thread that is to be looked at. @internal */
export interface Candidate {
  readonly threadId: string
  /** In milliseconds; `undefined`: what holds for all threads holds for this one. */
  readonly ttl: number | undefined
  /** The greatest `ts` of its checkpoints; empty if none has one. */
  readonly lastActivity: string
}

/** Which threads: those between the two. @internal */
export interface Range {
  readonly after: string | undefined
  readonly before: string | undefined
}

/** @internal */
export interface ClaimQuery extends Range {
  readonly size: number
  /** Not those that somebody has looked at in the last so many milliseconds. */
  readonly every: number
  /** Nor those that were claimed from then on, an `at` of an earlier answer. */
  readonly since: string | undefined
  /** For so many milliseconds they are nobody else's. */
  readonly lease: number
}

/**
 * Whose turn it is. Who claims threads gets some that nobody else has, without waiting for anybody; they are his until he
 * releases them or his lease ends.
 *
 * @internal
 */
export interface RetentionStore<E, W = E> {
  readonly setTtl: (threadId: string, ttl: number | undefined) => Effect.Effect<void, W>
  readonly ttl: (threadId: string) => Effect.Effect<number | undefined, E>
  /**
   * Makes the next threads known to `claim`. Gives the last one of a full page, and otherwise `undefined`. It is `busy`
   * and does nothing while somebody else is at it.
   */
  readonly enrol: (
    query: Range & { readonly size: number }
  ) => Effect.Effect<{ readonly last: string | undefined; readonly busy: boolean }, E>
  /** Those that have waited longest. */
  readonly claim: (
    query: ClaimQuery
  ) => Effect.Effect<{ readonly at: string | undefined; readonly threads: ReadonlyArray<Candidate> }, E>
  /** Those that were not looked at are the next ones to be claimed. What has nothing left is forgotten. */
  readonly release: (done: ReadonlyArray<string>, undone: ReadonlyArray<string>) => Effect.Effect<void, E>
  /** The next threads, without claiming them. */
  readonly peek: (query: Range & { readonly size: number }) => Effect.Effect<ReadonlyArray<Candidate>, E>
  /** Removes all checkpoints and writes if none of them has this `ts` or a greater one. Values stay, without a name. */
  readonly expire: (
    threadId: string,
    before: string
  ) => Effect.Effect<Omit<PruneReport, "values" | "waiting"> | undefined, W>
  /** What that and the end of the grace would remove. */
  readonly expirePlan: (threadId: string) => Effect.Effect<Omit<PruneReport, "waiting">, E>
}
