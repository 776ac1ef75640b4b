/**
 * What a pass of retention has done so far, and whether it should go on.
 *
 * @internal
 */
import * as Cause from "effect/Cause"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as MetricLabel from "effect/MetricLabel"
import * as CheckpointMetrics from "../../CheckpointMetrics.ts"
import type * as Retention from "../../Retention.ts"
import type { PruneReport } from "../../ThreadLife.ts"
import * as Trouble from "../lanes/trouble.ts"

/** Whether it is for want of a connection or a place in the queue: others need them more. @internal */
export const isSaturated = (error: Retention.Failure["error"]): boolean =>
  error instanceof Error && (error._tag === "CheckpointerOverloaded" || Trouble.kindOf(error) === "saturated")

/** @internal */
export class Tally {
  threads = 0
  isStuck = false
  isSaturated = false
  private pruned = 0
  private deleted = 0
  private failed = 0
  private inARow = 0
  private readonly gone = { checkpoints: 0, pendingWrites: 0, values: 0, bytes: 0, waiting: 0 }
  private readonly failures: Array<Retention.Failure> = []

  readonly dryRun: boolean
  constructor(dryRun: boolean) {
    this.dryRun = dryRun
  }

  /** What happens to one thread is counted, whatever it is. */
  observe<E extends Retention.Failure["error"]>(
    threadId: string,
    effect: Effect.Effect<PruneReport & { readonly deleted: boolean }, E>
  ): Effect.Effect<void> {
    return Effect.matchCauseEffect(effect, {
      onSuccess: (outcome) => Effect.sync(() => this.succeeded(outcome)),
      onFailure: (cause) => {
        if (Cause.isInterrupted(cause)) return Effect.interrupt
        const error = Cause.squash(cause) as Retention.Failure["error"]
        this.threads++
        if (isSaturated(error)) {
          this.stuck(error, threadId)
          return Effect.void
        }
        this.failed++
        this.inARow++
        this.count("failed")
        // One thread may have something that can't be dealt with; if the next ones fail, too, it is not theirs.
        if (this.inARow >= 3) this.stuck(error, threadId)
        else this.remember(error, threadId)
        return Effect.logWarning("Retention could not deal with a thread and goes on with the others", cause).pipe(
          Effect.annotateLogs("checkpoint.thread_id", threadId)
        )
      }
    })
  }

  /** There is no point in going on for now. */
  stuck(error: Retention.Failure["error"], threadId?: string): void {
    this.isStuck = true
    this.isSaturated = isSaturated(error)
    this.remember(error, threadId)
  }

  report(ended: Retention.Report["ended"], duration: Duration.Duration, next: string | undefined): Retention.Report {
    const { deleted, dryRun, failed, failures, gone, pruned, threads } = this
    if (!dryRun) CheckpointMetrics.retentionRuns.unsafeUpdate(1, [label(ended)])
    return { ended, dryRun, duration, threads, pruned, deleted, failed, ...gone, failures, next }
  }

  private succeeded({
    bytes,
    checkpoints,
    deleted,
    pendingWrites,
    values,
    waiting
  }: PruneReport & { readonly deleted: boolean }): void {
    const { gone } = this
    const pruned = !deleted && checkpoints + values > 0
    this.inARow = 0
    this.threads++
    if (deleted) this.deleted++
    if (pruned) this.pruned++
    gone.checkpoints += checkpoints
    gone.pendingWrites += pendingWrites
    gone.values += values
    gone.bytes += bytes
    gone.waiting += waiting
    this.count(deleted ? "deleted" : pruned ? "pruned" : "kept")
    if (this.dryRun) return
    CheckpointMetrics.retentionCheckpoints.unsafeUpdate(checkpoints, [])
    CheckpointMetrics.retentionBytes.unsafeUpdate(bytes, [])
  }

  private count(outcome: "kept" | "pruned" | "deleted" | "failed"): void {
    if (!this.dryRun) CheckpointMetrics.retentionThreads.unsafeUpdate(1, [label(outcome)])
  }

  private remember(error: Retention.Failure["error"], threadId: string | undefined): void {
    if (this.failures.length < 10) this.failures.push({ threadId, error })
  }
}

const label = (outcome: string) => MetricLabel.make(CheckpointMetrics.outcomeLabel, outcome)
