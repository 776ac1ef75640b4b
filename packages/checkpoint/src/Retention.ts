/**
 * Keeps a store small by itself: thins out histories, deletes threads that nobody has used for long, and removes values
 * that no checkpoint names any more.
 *
 * {@link layer} does so in the background, {@link run} once, for a job of your own. Any number of processes may do either at
 * the same time: they share the threads, and none waits for another. What is removed is gone; a dry run tells what that
 * would be. The files of the database don't shrink by this: the server uses the space again after its next `VACUUM`.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as Tracer from "effect/Tracer"
import type { OperationError } from "./Checkpointer.ts"
import { Checkpointer } from "./Checkpointer.ts"
import * as Pass from "./internal/life/retention.ts"
import type { PruneOptions, PruneReport } from "./ThreadLife.ts"

/**
 * What goes. A thread's own time to live (see `setTtl` of the checkpointer) takes the place of `expireAfter`; that holds with
 * an empty policy, too.
 *
 * @since 0.1.0
 * @category models
 */
export interface Policy {
  /** Thins out each thread, with the meaning and defaults of `ThreadLife.PruneOptions`; `{}` keeps the latest. Default: all stays. */
  readonly prune?: Pick<PruneOptions, "keepLast" | "olderThan" | "deltaChannels"> | undefined
  /**
   * How long after the greatest `ts` of its checkpoints a thread is deleted whole, pending writes included. Default: never.
   * A thread none of whose checkpoints has a `ts` stays.
   */
  readonly expireAfter?: Duration.DurationInput | undefined
}

/**
 * What one pass takes.
 *
 * @since 0.1.0
 * @category options
 */
export interface RunOptions {
  readonly policy: Policy
  /** Tells what would go, and touches nothing. Default: `false`. */
  readonly dryRun?: boolean | undefined
  /**
   * How long a value stays that no checkpoint names any more, also one of a thread that was deleted, so that a put which was
   * on its way finds it. Default 2 minutes: longer than any statement takes.
   */
  readonly grace?: Duration.DurationInput | undefined
  /**
   * A thread is not looked at again before that time, by whichever process. Default 0: each pass looks at all of them,
   * though never two at the same time at the same one. With {@link layer}: 30 s, so that several processes share the threads.
   */
  readonly every?: Duration.DurationInput | undefined
  /** Threads in one pass. Default 1,000; those that have waited longest come first, so the next pass goes on with others. */
  readonly maxThreads?: number | undefined
  /** After that time no other thread is begun. Default 30 s. */
  readonly timeLimit?: Duration.DurationInput | undefined
  /** How long an interrupt waits for the thread that is at work to be dealt with whole. Default 5 s. */
  readonly stopWithin?: Duration.DurationInput | undefined
  /** Checkpoints, or values, in one transaction. Default 1,000: writers of that thread may wait that long. */
  readonly batchSize?: number | undefined
  /** Only threads after this one. Default: all. */
  readonly after?: string | undefined
  /** Only threads before this one. Default: all. */
  readonly before?: string | undefined
  /** The `next` of an earlier report: looks for threads that are new from there on. Default: from the first. */
  readonly from?: string | undefined
}

/**
 * What {@link layer} takes.
 *
 * @since 0.1.0
 * @category options
 */
export interface LayerOptions extends Omit<RunOptions, "from"> {
  /** When to run again; at the end of the schedule it is over. Default: a minute after each pass, give or take a fifth. */
  readonly schedule?: Schedule.Schedule<unknown> | undefined
  /** Is given the report of each pass. Default: it is only logged, on the level of info if anything was done and else of debug. */
  readonly onReport?: ((report: Report) => Effect.Effect<void>) | undefined
}

/**
 * The options that hold where none are given. Those under `layer` hold in the background.
 *
 * @since 0.1.0
 * @category options
 */
export const defaults: Required<Omit<RunOptions, "policy" | "after" | "before" | "from">> & {
  readonly layer: { readonly every: Duration.DurationInput; readonly schedule: Schedule.Schedule<unknown> }
} = {
  ...Pass.defaults,
  layer: { every: "30 seconds", schedule: Schedule.jittered(Schedule.spaced("1 minute")) }
}

/**
 * What could not be done, with the thread if it was about one.
 *
 * @since 0.1.0
 * @category models
 */
export interface Failure {
  readonly threadId: string | undefined
  readonly error: OperationError
}

/**
 * What a pass did, or would do. In a dry run `values` and `bytes` are what the end of the grace would remove, too.
 *
 * @since 0.1.0
 * @category models
 */
export interface Report extends PruneReport {
  /**
   * Why it ended:
   *
   * - `Complete`: there are no other threads to look at
   * - `MaxThreads`, `TimeLimit`: it has done as much as it may; the next pass goes on
   * - `Saturated`: others need the connections more
   * - `Failed`: three threads in a row, or the claim of more, failed
   */
  readonly ended: "Complete" | "MaxThreads" | "TimeLimit" | "Saturated" | "Failed"
  readonly dryRun: boolean
  readonly duration: Duration.Duration
  /** Threads that were looked at. */
  readonly threads: number
  /** Threads that have become smaller. */
  readonly pruned: number
  /** Threads that were deleted whole. */
  readonly deleted: number
  /** Threads that something went wrong with. */
  readonly failed: number
  /** The first ten of what went wrong. */
  readonly failures: ReadonlyArray<Failure>
  /** Where the search for threads that are new goes on; `undefined`: it has come to the end. */
  readonly next: string | undefined
}

/**
 * One pass: what a job of yours runs. It fails only if it could not begin; what went wrong later is in the report.
 *
 * @example
 * ```ts
 * import { Checkpointer, Retention } from "@checkpool/checkpoint"
 * import { Effect } from "effect"
 *
 * const program = Effect.gen(function* () {
 *   const checkpointer = yield* Checkpointer.Checkpointer
 *   yield* checkpointer.setTtl("thread-1", "1 hour")
 *   return yield* Retention.run({ policy: { prune: { keepLast: 10 }, expireAfter: "90 days" } })
 * })
 *
 * Effect.runPromise(Effect.provide(program, Checkpointer.layerMemory)).then((report) => {
 *   if (report.ended !== "Complete") throw new Error(report.ended)
 * })
 * ```
 *
 * @since 0.1.0
 * @category running
 */
export const run = (options: RunOptions): Effect.Effect<Report, OperationError, Checkpointer> =>
  Effect.flatMap(Checkpointer, (checkpointer) => checkpointer.retain(options))

/**
 * Passes in the background until the scope closes, which waits for the thread that is at work. The first one begins at once.
 * It survives all failures: it logs them and waits longer from one to the next, up to five minutes.
 *
 * Its passes have no spans, because nobody has asked for them.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (options: LayerOptions): Effect.Effect<void, never, Checkpointer | Scope.Scope> =>
  Effect.flatMap(Checkpointer, (checkpointer) => {
    const { every = defaults.layer.every, onReport = () => Effect.void, schedule = defaults.layer.schedule } = options
    let from: string | undefined
    let troubles = 0
    const pass = Effect.suspend(() => checkpointer.retain({ ...options, every, from })).pipe(
      Effect.tap((report) => {
        from = report.next
        troubles = report.ended === "Saturated" || report.ended === "Failed" ? troubles + 1 : 0
        return Effect.zipRight(log(report), onReport(report))
      }),
      // Also if what it was waiting for was interrupted. When it is interrupted itself, nothing of this runs any more.
      Effect.catchAllCause((cause) => {
        troubles++
        return Effect.logWarning("Retention failed and will try again", cause)
      }),
      Effect.zipRight(Effect.suspend(() => (troubles === 0 ? Effect.void : Effect.sleep(pauseAfter(troubles)))))
    )
    return Effect.repeat(pass, schedule).pipe(
      Effect.mapInputContext((context: Context.Context<never>) => Context.omit(Tracer.ParentSpan)(context)),
      Effect.forkScoped,
      Effect.asVoid
    )
  })

/**
 * A layer with {@link make}.
 *
 * @example
 * ```ts
 * import { Retention, SqlCheckpointer } from "@checkpool/checkpoint"
 * import { PgPool } from "@checkpool/pg"
 * import { Config, Layer } from "effect"
 *
 * export const CheckpointerLive = Retention.layer({
 *   policy: { prune: { keepLast: 10 }, expireAfter: "90 days" }
 * }).pipe(
 *   Layer.provideMerge(SqlCheckpointer.layer()),
 *   Layer.provide(PgPool.layerConfig({ url: Config.redacted("DATABASE_URL") }))
 * )
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (options: LayerOptions): Layer.Layer<never, never, Checkpointer> =>
  Layer.scopedDiscard(make(options))

const pauseAfter = (troubles: number): Duration.Duration =>
  Duration.min(Duration.seconds(2 ** (troubles - 1)), Duration.minutes(5))

const log = (report: Report): Effect.Effect<void> => {
  const { bytes, checkpoints, deleted, dryRun, duration, ended, failed, pruned, threads } = report
  const message =
    `Retention ${dryRun ? "(dry run) " : ""}looked at ${threads} threads in ${Math.round(Duration.toMillis(duration))} ms: ` +
    `${pruned} pruned, ${deleted} deleted, ${failed} failed; ${checkpoints} checkpoints and ${bytes} bytes gone (${ended})`
  const isIdle = pruned + deleted + failed === 0 && (ended === "Complete" || ended === "MaxThreads")
  return isIdle ? Effect.logDebug(message) : Effect.logInfo(message)
}
