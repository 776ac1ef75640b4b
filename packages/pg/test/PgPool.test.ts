import { EmbeddedPostgres } from "@checkpool/embedded"
import { PgPool, PgPoolMetrics } from "@checkpool/pg"
import { PoolError } from "@checkpool/pool"
import { SqlClient, SqlError } from "@effect/sql"
import { PgClient } from "@effect/sql-pg"
import { expect, layer } from "@effect/vitest"
import { Config, Context, Effect, Fiber, Layer, Metric, Stream } from "effect"
import { eventually } from "./eventually.ts"
import { backends, poolLayer, ServerLive } from "./server.ts"

layer(ServerLive, { excludeTestServices: true, timeout: "60 seconds" })("PgPool", (it) => {
  it.scoped("provides PgPool, PgClient and SqlClient from one acquisition", () =>
    Effect.gen(function* () {
      const pool = yield* PgPool.PgPool
      const client = yield* PgClient.PgClient
      const sql = yield* SqlClient.SqlClient
      expect(client).toBe(sql)
      expect(yield* sql`SELECT ${1}::int AS one`).toEqual([{ one: 1 }])
      expect((yield* pool.stats).acquired).toBe(1)
      expect(client.config.database).toBe("postgres")
    }).pipe(Effect.provide(poolLayer()))
  )

  it.scoped("writes and reads back rows, values, raw results and JSON", () =>
    Effect.gen(function* () {
      const sql = yield* PgClient.PgClient
      yield* sql`CREATE TABLE rows_and_values (id int PRIMARY KEY, doc jsonb)`
      yield* sql`INSERT INTO rows_and_values ${sql.insert([{ id: 1, doc: sql.json({ a: [1, 2] }) }])}`
      expect(yield* sql`SELECT * FROM rows_and_values`).toEqual([{ id: 1, doc: { a: [1, 2] } }])
      expect(yield* sql`SELECT id, 'x' FROM rows_and_values`.values).toEqual([[1, "x"]])
      expect(yield* sql`SELECT 1`.raw).toMatchObject({ rowCount: 1, command: "SELECT" })
    }).pipe(Effect.provide(poolLayer()))
  )

  it.scoped("applies the transforms of names both ways", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      expect(yield* sql`SELECT 1 AS ${sql("camelCase")}`).toEqual([{ camelCase: 1 }])
    }).pipe(
      Effect.provide(
        poolLayer({
          transformQueryNames: (s) => s.replace(/[A-Z]/g, (c) => `_${c.toLowerCase()}`),
          transformResultNames: (s) => s.replace(/_([a-z])/g, (_, c: string) => c.toUpperCase())
        })
      )
    )
  )

  it.scoped("streams more rows than one fetch holds, on one connection that it gives back", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const pool = yield* PgPool.PgPool
      const sum = yield* sql<{ n: number }>`SELECT n FROM generate_series(1, 1000) AS n`.stream.pipe(
        Stream.runFold(0, (sum, row) => sum + row.n)
      )
      expect(sum).toBe(500500)
      expect(yield* pool.stats).toMatchObject({ leased: 0, opened: 1 })
      const first = yield* sql`SELECT n FROM generate_series(1, 100000) AS n`.stream.pipe(
        Stream.take(1),
        Stream.runCount
      )
      expect(first).toBe(1)
      expect(yield* pool.stats).toMatchObject({ leased: 0, opened: 1 })
    }).pipe(Effect.provide(poolLayer()))
  )

  it.scoped("runs as many statements at once as it has connections, and never more than the maximum", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const pool = yield* PgPool.PgPool
      const seen = yield* Effect.forEach(
        Array.from({ length: 40 }),
        () => sql<{ pid: number }>`SELECT pg_backend_pid() AS pid, pg_sleep(0.01)`,
        { concurrency: "unbounded" }
      )
      expect(new Set(seen.map(([row]) => row!.pid)).size).toBeLessThanOrEqual(5)
      expect(yield* pool.stats).toMatchObject({ leased: 0, acquired: 40, timedOut: 0, rejected: 0 })
      expect(yield* backends).toBeLessThanOrEqual(5)
    }).pipe(Effect.provide(poolLayer()))
  )

  it.scoped("keeps the minimum open, and leaves no connection behind when its scope closes", () =>
    Effect.gen(function* () {
      yield* Effect.gen(function* () {
        const pool = yield* PgPool.PgPool
        yield* eventually(pool.stats, (stats) => stats.idle === 3)
        expect(yield* backends).toBe(3)
      }).pipe(Effect.provide(poolLayer({ minConnections: 3, start: "one" })))
      yield* eventually(backends, (n) => n === 0)
    })
  )

  it.scoped("closes a connection after its maximum of statements", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const pid = Effect.map(sql<{ pid: number }>`SELECT pg_backend_pid() AS pid`, ([row]) => row!.pid)
      const pids = yield* Effect.all([pid, pid, pid, pid, pid, pid])
      expect(new Set(pids).size).toBe(3)
    }).pipe(Effect.provide(poolLayer({ maxUses: 2 })))
  )

  it.scoped("a pool error stays recognisable through SqlError", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      yield* Effect.scoped(
        Effect.gen(function* () {
          yield* sql.reserve
          const error = yield* Effect.flip(Effect.fork(sql`SELECT 1`).pipe(Effect.flatMap(Fiber.join)))
          expect(error).toBeInstanceOf(SqlError.SqlError)
          expect(PgPool.poolError(error)).toBeInstanceOf(PoolError.AcquireTimeout)
        })
      )
    }).pipe(Effect.provide(poolLayer({ maxConnections: 1, acquireTimeout: "50 millis" })))
  )

  it.scoped("two pools of one app are told apart by their tags", () =>
    Effect.gen(function* () {
      const { url } = yield* EmbeddedPostgres.EmbeddedPostgres
      class Reporting extends Context.Tag("test/Reporting")<Reporting, PgPool.Service>() {}
      yield* Effect.gen(function* () {
        const main = yield* PgPool.PgPool
        const reporting = yield* Reporting
        yield* reporting.client`SELECT 1`
        expect(main.name).toBe("main")
        expect(reporting.name).toBe("reporting")
        expect(main.unsafeStats().acquired).toBe(0)
        expect(reporting.unsafeStats().acquired).toBe(1)
      }).pipe(
        Effect.provide(
          Layer.merge(
            PgPool.layerTagged(Reporting, { url, name: "reporting", maxConnections: 1 }),
            PgPool.layer({ url, name: "main", maxConnections: 1 })
          )
        )
      )
    })
  )

  it.scoped("tries transient failures again, and no others", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      let tries = 0
      const deadlocked = Effect.suspend(() => {
        tries++
        return tries < 3 ? sql`DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '40P01'; END $$` : sql`SELECT 1 AS one`
      })
      expect(yield* Effect.retry(deadlocked, PgPool.retryTransient)).toEqual([{ one: 1 }])
      expect(tries).toBe(3)
      let wrong = 0
      const typo = Effect.suspend(() => {
        wrong++
        return sql`SELEC 1`
      })
      yield* Effect.flip(Effect.retry(typo, PgPool.retryTransient))
      expect(wrong).toBe(1)
    }).pipe(Effect.provide(poolLayer()))
  )

  it.scoped("reads its options from the configuration", () =>
    Effect.gen(function* () {
      const { url } = yield* EmbeddedPostgres.EmbeddedPostgres
      const live = PgPool.layerConfig({
        url: Config.succeed(url),
        maxConnections: Config.succeed(2),
        minConnections: Config.succeed(0)
      })
      const pool = yield* Effect.provide(PgPool.PgPool, live)
      expect(pool.unsafeStats()).toMatchObject({ max: 2, min: 0 })
    })
  )

  it.scoped("counts every acquisition in checkpoint_connection_acquisition_seconds, under the pool's name", () =>
    Effect.gen(function* () {
      const samples: Array<number> = []
      yield* Effect.provide(
        Effect.flatMap(SqlClient.SqlClient, (sql) => Effect.repeatN(sql`SELECT 1`, 24)),
        poolLayer({ name: "measured", observer: { acquired: (wait) => void samples.push(wait / 1000) } })
      )
      const state = yield* Metric.value(
        Metric.tagged(PgPoolMetrics.acquisitionSeconds, PgPoolMetrics.poolNameLabel, "measured")
      )
      expect(state.count).toBe(25)
      expect(state.sum).toBeCloseTo(
        samples.reduce((sum, sample) => sum + sample, 0),
        9
      )
      const bounds = [...state.buckets].map(([bound]) => bound)
      expect(bounds.slice(0, 6)).toEqual([0.001, 0.005, 0.01, 0.025, 0.05, 0.1])
    })
  )
})
