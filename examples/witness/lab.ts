/**
 * A pool under observation: its raw samples, its histogram, what the server counts, and what is left of it.
 */
import { type Checkpointer, SqlCheckpointer } from "@checkpool/checkpoint"
import type { Pools } from "@checkpool/observability"
import { PgPool, type PgPoolConfig, PgPoolMetrics } from "@checkpool/pg"
import type { PoolStats } from "@checkpool/pool"
import { Effect, Layer, Metric, Schedule } from "effect"
import { sum } from "./measure.ts"
import { applicationName } from "./observer.ts"
import type { Progress } from "./progress.ts"
import type { Histogram, Left } from "./result.ts"
import type { Settings } from "./settings.ts"
import type { Place, Target } from "./target.ts"
import { connectionError, reason, WitnessError } from "./trouble.ts"
import type { Workload } from "./workload.ts"

export interface Lab {
  readonly target: Target
  readonly settings: Settings
  readonly workload: Workload
  readonly progress: Progress
  /** The pools of the phases, for whoever watches them. */
  readonly pools: Pools.Pools
}

export interface Observed<A> {
  readonly value: A
  /** Acquisitions in milliseconds, all of them. */
  readonly samples: ReadonlyArray<number>
  readonly stats: PoolStats.PoolStats
  readonly peak: number
  readonly left: Left
  readonly histogram: Histogram
}

/** The milliseconds of each acquisition so far: what a phase looks at while it runs. */
export type Samples = ReadonlyArray<number>

/** Runs an effect on a pool and a checkpointer of its own, and looks at what becomes of them. */
export const observe = <A, E>(
  { pools, target }: Pick<Lab, "pools" | "target">,
  options: {
    /** Unique in the process: the histogram is told apart by it. */
    readonly name: string
    readonly place: Place
    readonly config: Omit<PgPoolConfig.PgPoolConfig, "url" | "name">
    /** False: each write takes a connection of its own. Default: writes that come together share a statement. */
    readonly groupCommit?: boolean
  },
  run: (samples: Samples) => Effect.Effect<A, E, Checkpointer.Checkpointer | PgPool.PgPool>
): Effect.Effect<Observed<A>, E | WitnessError> =>
  Effect.gen(function* () {
    const samples: Array<number> = []
    const config: PgPoolConfig.PgPoolConfig = {
      ...target.ways.get(options.place),
      ...options.config,
      name: options.name,
      applicationName: applicationName(target.run),
      observer: { acquired: (waitMillis) => void samples.push(waitMillis) }
    }
    const pool = Layer.catchAll(PgPool.layer(config), (error) => Layer.effectContext(connectionError(config, error)))
    const live = SqlCheckpointer.layer({
      schema: target.schema,
      setup: "none",
      ...(options.groupCommit === false ? { groupCommit: false } : {})
    }).pipe(
      Layer.mapError((cause) => new WitnessError({ message: `The tables can't be used: ${reason(cause)}.`, cause })),
      Layer.provideMerge(pool)
    )
    const [[value, stats], peak] = yield* Effect.gen(function* () {
      const pool = yield* PgPool.PgPool
      yield* pools.add(pool)
      const value = yield* run(samples)
      yield* settled
      return [value, pool.unsafeStats()] as const
    }).pipe(Effect.scoped, Effect.provide(live), target.observer.withPeak)
    return {
      value,
      samples,
      stats,
      peak,
      left: { leased: stats.leased, waiting: stats.waiting, connections: yield* target.observer.remaining },
      histogram: yield* histogram(options.name, samples)
    }
  })

/**
 * Waits, for a while, until nobody holds a connection or waits for one. A caller has its answer before the connection is
 * given back, and who was interrupted leaves work behind that others share.
 */
export const settled: Effect.Effect<void, never, PgPool.PgPool> = Effect.flatMap(PgPool.PgPool, (pool) =>
  pool.stats.pipe(
    Effect.repeat({
      until: ({ leased, waiting }) => leased === 0 && waiting === 0,
      schedule: Schedule.intersect(Schedule.spaced("1 millis"), Schedule.recurUpTo("5 seconds"))
    })
  )
)

/** Makes the tables, once, for all phases. */
export const migrate = (target: Target): Effect.Effect<void, WitnessError> =>
  Effect.void.pipe(
    Effect.provide(
      SqlCheckpointer.layer({ schema: target.schema }).pipe(
        Layer.provide(PgPool.layer({ ...target.ways.get("direct"), minConnections: 0, maxConnections: 1 }))
      )
    ),
    Effect.mapError((cause) => new WitnessError({ message: `The tables can't be made: ${reason(cause)}.`, cause }))
  )

const histogram = (name: string, samples: Samples): Effect.Effect<Histogram> =>
  Effect.map(
    Metric.value(Metric.tagged(PgPoolMetrics.acquisitionSeconds, PgPoolMetrics.poolNameLabel, name)),
    ({ count, sum: total }) => ({ count, sum: total, samples: samples.length, samplesSum: sum(samples) / 1000 })
  )
