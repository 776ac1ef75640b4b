/**
 * Whether the process lives, and whether it should be sent work: for the probes of whatever runs it.
 *
 * Live means that the process answers, no more: a restart does not mend a database. Ready means that every pool can lend
 * connections in good time; if not, the answer says which one can't, why, and since when.
 *
 * When the program ends, it has to stop being ready first and go on answering for a while, so that whoever sends work
 * learns of it: `layerShutdown` does that. Pools are made before what watches them and so drain after that.
 *
 * @since 0.1.0
 */
import { PgPool } from "@checkpool/pg/PgPool"
import type { PoolEvent } from "@checkpool/pool/PoolEvent"
import * as HttpLayerRouter from "@effect/platform/HttpLayerRouter"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FiberMap from "effect/FiberMap"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import { listen } from "./internal/listen.ts"
import * as Pools from "./Pools.ts"

/**
 * Why it is not ready.
 *
 * - `down`: nothing is open and nothing can be opened
 * - `saturated`: the queue is full, or its oldest waiter has been waiting for `saturatedAfter`
 * - `draining`, `closed`: the pool ends, or has ended
 * - `stopping`: the program ends
 *
 * @category models
 * @since 0.1.0
 */
export interface Problem {
  readonly problem: "down" | "saturated" | "draining" | "closed" | "stopping"
  /** The pool; none when the whole program is meant. */
  readonly pool: string | undefined
  /** When it began, as an ISO 8601 date. */
  readonly since: string
  /** For how long it has lasted, in seconds. */
  readonly seconds: number
  readonly message: string
}

/**
 * What a probe is told.
 *
 * @category models
 * @since 0.1.0
 */
export interface Report {
  readonly status: "pass" | "fail"
  readonly problems: ReadonlyArray<Problem>
}

/**
 * @category models
 * @since 0.1.0
 */
export interface Service {
  readonly liveness: Effect.Effect<Report>
  readonly readiness: Effect.Effect<Report>
  /** Not ready from now on. */
  readonly stop: Effect.Effect<void>
}

/**
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** A waiter of this age makes a pool count as saturated. Default 5 s: half of what callers wait by default. */
  readonly saturatedAfter?: Duration.DurationInput | undefined
}

/**
 * The defaults of `Options`; the reasons stand there.
 *
 * @category constructors
 * @since 0.1.0
 */
export const defaults = { saturatedAfter: "5 seconds" } as const

/**
 * @category tags
 * @since 0.1.0
 */
export class HealthCheck extends Context.Tag("@checkpool/observability/HealthCheck")<HealthCheck, Service>() {}

/**
 * Watches these pools until the scope closes.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (pools: Pools.Given, options: Options = {}): Effect.Effect<Service, never, Scope.Scope> =>
  Effect.gen(function* () {
    const patience = Duration.toMillis(options.saturatedAfter ?? defaults.saturatedAfter)
    const watches = new Set<Watch>()
    yield* (yield* Pools.from(pools)).each((pool) =>
      Effect.asVoid(
        Effect.acquireRelease(
          Effect.tap(watch(pool), (watch) => Effect.sync(() => watches.add(watch))),
          (watch) => Effect.sync(() => watches.delete(watch))
        )
      )
    )
    // A pool tries to connect when it is needed. While it isn't ready nobody may come who needs it, so asking counts as need.
    const run = yield* FiberMap.makeRuntime<never, Pools.AnyPool>()
    const nudge = (pool: Pools.AnyPool) =>
      run(pool, Effect.ignore(pool.use(() => Effect.void)), { onlyIfMissing: true })
    let stoppedAt: number | undefined
    const stop = Effect.map(now, (now) => {
      stoppedAt ??= now
    })
    return {
      liveness: Effect.succeed({ status: "pass", problems: [] }),
      readiness: Effect.map(now, (now) => {
        for (const watch of watches) if (watch.pool.unsafeStats().unavailable) nudge(watch.pool)
        const problems = [...watches].flatMap((watch) => problemsOf(watch, now, patience))
        if (stoppedAt !== undefined) problems.push(problem("stopping", undefined, stoppedAt, now))
        return { status: problems.length === 0 ? "pass" : "fail", problems }
      }),
      stop
    }
  })

/**
 * Watches the `PgPool` at hand.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options: Options = {}): Layer.Layer<HealthCheck, never, PgPool> =>
  Layer.scoped(
    HealthCheck,
    Effect.flatMap(PgPool, (pool) => make([pool], options))
  )

/**
 * Watches several pools, pools that lend something else, or pools that come and go.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerPools = (pools: Pools.Given, options: Options = {}): Layer.Layer<HealthCheck> =>
  Layer.scoped(HealthCheck, make(pools, options))

/**
 * When it is released, nothing is ready any more, and the release goes on for `delay`: let it be a little longer than the
 * period of the probe. What it is built upon goes on working for that time, so build it upon the server that answers the
 * probes: `HealthCheck.layerShutdown("10 seconds").pipe(Layer.provide(ServerLive))`.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerShutdown = (delay: Duration.DurationInput): Layer.Layer<never, never, HealthCheck> =>
  Layer.scopedDiscard(Effect.flatMap(HealthCheck, (health) => stopFirst(health, delay)))

/**
 * The same, for a scope.
 *
 * @category combinators
 * @since 0.1.0
 */
export const stopFirst = (health: Service, delay: Duration.DurationInput): Effect.Effect<void, never, Scope.Scope> =>
  Effect.addFinalizer(() => Effect.zipRight(health.stop, Effect.sleep(delay)))

/**
 * Routes for probes, for a server of yours: `/health/live`, and `/health/ready`, which answers 503 when it isn't.
 *
 * @category layers
 * @since 0.1.0
 */
export const routes: Layer.Layer<never, never, HttpLayerRouter.HttpRouter | HealthCheck> = HttpLayerRouter.use(
  (router) =>
    Effect.flatMap(HealthCheck, ({ liveness, readiness }) =>
      Effect.zipRight(
        router.add("GET", "/health/live", Effect.map(liveness, respond)),
        router.add("GET", "/health/ready", Effect.map(readiness, respond))
      )
    )
)

const respond = (report: Report): HttpServerResponse.HttpServerResponse =>
  HttpServerResponse.unsafeJson(report, {
    status: report.status === "pass" ? 200 : 503,
    headers: { "cache-control": "no-store" }
  })

/** What is known of a pool from its events: since when. */
interface Watch {
  readonly pool: Pools.AnyPool
  readonly since: { down?: number; saturated?: number; draining?: number; closed?: number }
}

const now = Effect.clockWith((clock) => clock.currentTimeMillis)

const watch = (pool: Pools.AnyPool): Effect.Effect<Watch, never, Scope.Scope> =>
  Effect.gen(function* () {
    const { since }: Watch = { pool, since: {} }
    const note = (event: PoolEvent, now: number): void => {
      switch (event._tag) {
        case "Unavailable":
          since.down = now - event.lasted
          break
        case "Available":
          delete since.down
          break
        case "Saturated":
          since.saturated = now
          break
        case "Relieved":
          delete since.saturated
          break
        case "Draining":
          since.draining = now
          break
        case "Drained":
          since.closed = now
          break
      }
    }
    yield* listen(
      pool,
      (event) => Effect.map(now, (now) => note(event, now)),
      Effect.map(now, (now) => {
        since.closed ??= now
      })
    )
    return { pool, since }
  })

const problemsOf = ({ pool, since }: Watch, now: number, patience: number): Array<Problem> => {
  const { oldestWait, unavailable } = pool.unsafeStats()
  if (since.closed !== undefined) return [problem("closed", pool.name, since.closed, now)]
  if (since.draining !== undefined) return [problem("draining", pool.name, since.draining, now)]
  // It may have been down before anybody watched.
  if (unavailable) since.down ??= now
  else delete since.down
  const waiting = oldestWait >= patience ? now - oldestWait : undefined
  const saturated = since.saturated === undefined ? waiting : Math.min(since.saturated, waiting ?? since.saturated)
  return [
    ...(unavailable && since.down !== undefined ? [problem("down", pool.name, since.down, now)] : []),
    ...(saturated === undefined ? [] : [problem("saturated", pool.name, saturated, now)])
  ]
}

const texts: Record<Problem["problem"], string> = {
  down: "can't connect to its server",
  saturated: "has more callers than it can serve",
  draining: "is draining",
  closed: "is closed",
  stopping: "The program is stopping"
}

const problem = (kind: Problem["problem"], pool: string | undefined, since: number, now: number): Problem => {
  const seconds = Math.max(0, Math.round((now - since) / 100) / 10)
  const what = pool === undefined ? texts[kind] : `Pool "${pool}" ${texts[kind]}`
  return { problem: kind, pool, since: new Date(since).toISOString(), seconds, message: `${what}, for ${seconds} s` }
}
