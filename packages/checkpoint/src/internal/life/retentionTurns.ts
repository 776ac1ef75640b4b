/**
 * Which threads a pass of retention looks at, and when it has seen them all.
 *
 * @internal
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { CheckpointerError } from "../../CheckpointError.ts"
import type * as Retention from "../../Retention.ts"
import type { Candidate, RetentionStore } from "./retentionStore.ts"

/** @internal */
export type Options = Retention.RunOptions & {
  readonly [K in "grace" | "every" | "maxThreads" | "timeLimit" | "stopWithin" | "batchSize" | "dryRun"]-?: NonNullable<
    Retention.RunOptions[K]
  >
}

/** @internal */
export interface Turns {
  readonly take: (
    size: number
  ) => Effect.Effect<{ readonly threads: ReadonlyArray<Candidate>; readonly isLast: boolean }, CheckpointerError>
  readonly release: RetentionStore<CheckpointerError>["release"]
  /** Where another pass goes on. */
  readonly next: () => string | undefined
}

type Store = Pick<RetentionStore<CheckpointerError, unknown>, "enrol" | "claim" | "release" | "peek">

/** Shares the threads with all others who claim some. @internal */
export const claiming = (store: Store, { after, before, every, from, timeLimit }: Options): Turns => {
  const lease = Duration.toMillis(timeLimit) + leaseBeyond
  let last = from
  let enrolling = true
  let since: string | undefined
  return {
    take: Effect.fnUntraced(function* (size) {
      let busy = false
      if (enrolling) {
        const page = yield* store.enrol({ after: last ?? after, before, size: enrolled })
        busy = page.busy
        if (!busy) {
          last = page.last
          enrolling = last !== undefined
        }
      }
      const { at, threads } = yield* store.claim({ after, before, size, every: Duration.toMillis(every), since, lease })
      since ??= at
      return { threads, isLast: threads.length === 0 && (busy || !enrolling) }
    }),
    release: store.release,
    next: () => last
  }
}

/** Leaves no trace. @internal */
export const looking = (store: Store, { after, before, from }: Options): Turns => {
  let last = from
  return {
    take: (size) =>
      Effect.map(store.peek({ after: last ?? after, before, size }), (threads) => {
        last = threads.length < size ? undefined : threads.at(-1)?.threadId
        return { threads, isLast: last === undefined }
      }),
    release: () => Effect.void,
    next: () => last
  }
}

/** Threads that are made known at once: they only have to be found in an index. */
const enrolled = 1000

/** How long claims outlive the time of a pass: for the last thread of it. In milliseconds. */
const leaseBeyond = 60_000
