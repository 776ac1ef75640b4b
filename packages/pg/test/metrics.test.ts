import { EmbeddedPostgres } from "@checkpool/embedded"
import { PgPool, PgPoolMetrics } from "@checkpool/pg"
import { SqlClient } from "@effect/sql"
import { expect, layer } from "@effect/vitest"
import { Deferred, Effect, Fiber, Layer, Metric, MetricKeyType, MetricState, Redacted } from "effect"
import { eventually } from "./eventually.ts"
import { outside, poolLayer, ServerLive } from "./server.ts"

interface Series {
  readonly name: string
  readonly kind: string
  readonly labels: Record<string, string>
  readonly state: MetricState.MetricState.Untyped
}

const kindOf = (keyType: unknown): string =>
  MetricKeyType.isHistogramKey(keyType)
    ? "Histogram"
    : MetricKeyType.isGaugeKey(keyType)
      ? "Gauge"
      : MetricKeyType.isCounterKey(keyType) && keyType.incremental
        ? "Counter"
        : "UpDownCounter"

/** What the registry holds of one pool. */
const seriesOf = (pool: string) =>
  Effect.map(Metric.snapshot, (pairs) =>
    pairs
      .map(({ metricKey, metricState }): Series => {
        const labels = Object.fromEntries(metricKey.tags.map(({ key, value }) => [key, value]))
        return { name: metricKey.name, kind: kindOf(metricKey.keyType), labels, state: metricState }
      })
      .filter(({ labels }) => labels[PgPoolMetrics.poolNameLabel] === pool)
  )

const valueOf = (state: MetricState.MetricState.Untyped): number =>
  Number(
    MetricState.isGaugeState(state)
      ? state.value
      : MetricState.isCounterState(state) || MetricState.isHistogramState(state)
        ? state.count
        : Number.NaN
  )

/** A number of one pool: a counter's or gauge's value, a histogram's count. */
const numberOf = (pool: string, name: string, labels: Record<string, string> = {}) =>
  Effect.map(seriesOf(pool), (all) => {
    const found = all.find(
      (series) =>
        series.name === name && Object.entries(labels).every(([label, value]) => series.labels[label] === value)
    )?.state
    return found && valueOf(found)
  })

const statement = Effect.flatMap(SqlClient.SqlClient, (sql) => sql`SELECT 1`)

layer(ServerLive, { excludeTestServices: true, timeout: "60 seconds" })("the metrics of a pool", (it) => {
  it.effect("have OpenTelemetry's names, kinds and units", () =>
    Effect.gen(function* () {
      const series = yield* Effect.zipRight(statement, seriesOf("conventional")).pipe(
        Effect.provide(poolLayer({ name: "conventional" }))
      )
      const described = new Set(series.map(({ kind, labels, name }) => `${name} ${kind} ${labels.unit}`))
      expect([...described].filter((line) => line.startsWith("db.client.")).sort()).toEqual([
        "db.client.connection.count UpDownCounter {connection}",
        "db.client.connection.create_time Histogram s",
        "db.client.connection.idle.max UpDownCounter {connection}",
        "db.client.connection.idle.min UpDownCounter {connection}",
        "db.client.connection.max UpDownCounter {connection}",
        "db.client.connection.pending_requests UpDownCounter {request}",
        "db.client.connection.timeouts Counter {timeout}",
        "db.client.connection.use_time Histogram s",
        "db.client.connection.wait_time Histogram s",
        "db.client.operation.duration Histogram s"
      ])
      expect([...described]).toContain("checkpoint_connection_acquisition_seconds Histogram s")
    })
  )

  it.effect("follow the pool, and are found by the exported metrics", () =>
    Effect.gen(function* () {
      const pool = yield* PgPool.PgPool
      const here = <Type, In, Out>(metric: Metric.Metric<Type, In, Out>) =>
        Metric.value(Metric.tagged(metric, PgPoolMetrics.poolNameLabel, "followed"))
      const inState = (state: string) =>
        Effect.map(
          Metric.value(
            PgPoolMetrics.connectionCount.pipe(
              Metric.tagged(PgPoolMetrics.poolNameLabel, "followed"),
              Metric.tagged(PgPoolMetrics.stateLabel, state)
            )
          ),
          ({ count }) => count
        )
      yield* statement
      expect(yield* inState("idle")).toBe(1)
      expect(yield* inState("used")).toBe(0)
      const done = yield* Deferred.make<void>()
      const holder = Effect.fork(pool.use(() => Deferred.await(done)))
      const borrowers = [yield* holder, yield* holder, yield* holder]
      yield* eventually(here(PgPoolMetrics.pendingRequests), ({ count }) => count === 1)
      yield* eventually(here(PgPoolMetrics.oldestWait), ({ value }) => value > 0)
      expect(yield* inState("idle")).toBe(0)
      expect(yield* inState("used")).toBe(2)
      expect(yield* here(PgPoolMetrics.max)).toMatchObject({ count: 2 })
      yield* pool.resize({ max: 3 })
      expect(yield* here(PgPoolMetrics.max)).toMatchObject({ count: 3 })
      yield* Deferred.succeed(done, undefined)
      yield* Effect.forEach(borrowers, Fiber.join)
      expect(yield* here(PgPoolMetrics.acquired)).toMatchObject({ count: 4 })
      expect(yield* here(PgPoolMetrics.reuse)).toMatchObject({ value: (yield* pool.stats).reuseRate })
      expect(yield* here(PgPoolMetrics.waitTime)).toMatchObject({ count: 4 })
      expect(yield* here(PgPoolMetrics.useTime)).toMatchObject({ count: 4 })
      expect(yield* here(PgPoolMetrics.oldestWait)).toMatchObject({ value: 0 })
    }).pipe(Effect.provide(poolLayer({ name: "followed", maxConnections: 2 })))
  )

  it.effect("that go up and down end with their pool; totals stay as they were at its end", () =>
    Effect.gen(function* () {
      yield* Effect.repeatN(statement, 3).pipe(Effect.provide(poolLayer({ name: "ended" })))
      const left = yield* seriesOf("ended")
      expect(left.filter(({ kind }) => kind === "Gauge" || kind === "UpDownCounter")).toEqual([])
      expect(yield* numberOf("ended", "checkpool.pool.acquired")).toBe(4)
      yield* statement.pipe(Effect.provide(poolLayer({ name: "ended" })))
      expect(yield* numberOf("ended", "checkpool.pool.acquired")).toBe(5)
    })
  )

  it.effect("tell pools apart by name, and add up pools of one name", () =>
    Effect.gen(function* () {
      const idle = (name: string) =>
        numberOf(name, "db.client.connection.count", { [PgPoolMetrics.stateLabel]: "idle" })
      const alone = yield* Layer.build(Layer.fresh(poolLayer({ name: "one", minConnections: 2, start: "min" })))
      yield* Layer.build(Layer.fresh(poolLayer({ name: "two" })))
      yield* Effect.scoped(
        Effect.gen(function* () {
          yield* Layer.build(Layer.fresh(poolLayer({ name: "two" })))
          expect(yield* idle("one")).toBe(2)
          expect(yield* idle("two")).toBe(2)
        })
      )
      expect(yield* idle("two")).toBe(1)
      yield* Effect.provide(statement, alone)
      expect(yield* numberOf("one", "checkpool.pool.acquired")).toBe(1)
      expect(yield* numberOf("two", "checkpool.pool.acquired")).toBe(0)
    }).pipe(Effect.scoped)
  )

  it.effect("count what opens, closes and breaks, by reason", () =>
    Effect.gen(function* () {
      const evicted = (sqlStateClass: string) =>
        numberOf("reasons", "checkpool.pool.evictions", { [PgPoolMetrics.sqlStateClassLabel]: sqlStateClass })
      yield* Effect.gen(function* () {
        yield* statement
        yield* outside(
          Effect.flatMap(
            SqlClient.SqlClient,
            (sql) => sql`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'reasons'`
          )
        )
        yield* eventually(evicted("57"), (count) => count === 1)
        yield* statement
      }).pipe(Effect.provide(poolLayer({ name: "reasons", applicationName: "reasons" })))
      // The second one was closed with the pool, and so did not break.
      const total = (yield* seriesOf("reasons")).filter(({ name }) => name === "checkpool.pool.evictions")
      expect(total.length).toBe(1)
      expect(yield* evicted("57")).toBe(1)
      const by = (name: string, labels: Record<string, string>) => numberOf("reasons", name, labels)
      expect(yield* by("checkpool.pool.connects", { [PgPoolMetrics.outcomeLabel]: "opened" })).toBe(2)
      expect(yield* by("checkpool.pool.closes", { [PgPoolMetrics.reasonLabel]: "invalidated" })).toBe(1)
      expect(yield* by("checkpool.pool.closes", { [PgPoolMetrics.reasonLabel]: "drained" })).toBe(1)
    })
  )

  it.effect("name what connecting failed with", () =>
    Effect.gen(function* () {
      const { url } = yield* EmbeddedPostgres.EmbeddedPostgres
      const elsewhere = new URL(Redacted.value(url))
      elsewhere.pathname = "/nowhere"
      yield* Effect.scoped(Effect.exit(Layer.build(PgPool.layer({ url: Redacted.make(elsewhere.href), name: "lost" }))))
      const labels = { [PgPoolMetrics.outcomeLabel]: "failed", [PgPoolMetrics.errorTypeLabel]: "3D000" }
      expect(yield* numberOf("lost", "checkpool.pool.connects", labels)).toBe(1)
      elsewhere.port = "1"
      yield* Effect.scoped(Effect.exit(Layer.build(PgPool.layer({ url: Redacted.make(elsewhere.href), name: "lost" }))))
      const refused = { [PgPoolMetrics.outcomeLabel]: "failed", [PgPoolMetrics.errorTypeLabel]: "ECONNREFUSED" }
      expect(yield* numberOf("lost", "checkpool.pool.connects", refused)).toBe(1)
    })
  )

  it.effect("time each statement of a borrower by its outcome, also within transactions, but no upkeep", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      yield* statement
      yield* sql.withTransaction(sql`SET LOCAL work_mem = '5MB'`)
      yield* Effect.ignore(sql`SELECT 1 / 0`)
      const pool = yield* PgPool.PgPool
      yield* pool.use((connection) => connection.ping)
      const named = (yield* seriesOf("timed")).filter(({ name }) => name === "db.client.operation.duration")
      const counts = named.map(({ labels, state }) => [labels[PgPoolMetrics.errorTypeLabel] ?? "none", valueOf(state)])
      expect(Object.fromEntries(counts)).toEqual({ none: 4, "22012": 1 })
    }).pipe(Effect.provide(poolLayer({ name: "timed", maxConnections: 1 })))
  )
})
