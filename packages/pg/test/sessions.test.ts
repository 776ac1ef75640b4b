import type { PgPoolConfig } from "@checkpool/pg"
import { PgPool, SqlState } from "@checkpool/pg"
import { SqlClient } from "@effect/sql"
import { expect, layer } from "@effect/vitest"
import { Effect } from "effect"
import { eventually } from "./eventually.ts"
import { outside, poolLayer, ServerLive } from "./server.ts"

layer(ServerLive, { excludeTestServices: true, timeout: "60 seconds" })("sessions", (it) => {
  it.scoped("the next borrower finds a clean session, and plain statements cost no reset", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const pool = yield* PgPool.PgPool
      const statements = pool.use((connection) => Effect.succeed(connection.statements))
      yield* sql`SELECT 1`
      const before = yield* statements
      yield* sql`SELECT 1`
      expect(yield* statements).toBe(before + 1)
      yield* sql`SET application_name = 'somebody else'`
      expect(yield* sql`SELECT current_setting('application_name') AS name`).toEqual([{ name: "@checkpool/pg" }])
      // A transaction that its borrower left open.
      yield* Effect.scoped(
        Effect.flatMap(sql.reserve, (connection) => connection.executeUnprepared("BEGIN", [], undefined))
      )
      expect(yield* pool.use((connection) => Effect.succeed(connection.client.getTransactionStatus()))).toBe("I")
      expect(yield* pool.stats).toMatchObject({ opened: 1 })
    }).pipe(Effect.provide(poolLayer({ maxConnections: 1 })))
  )

  it.scoped("what onConnect sets is there for every borrower, also after a reset", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const pool = yield* PgPool.PgPool
      const zone = sql`SELECT current_setting('TimeZone') AS zone`
      expect(yield* zone).toEqual([{ zone: "Asia/Tokyo" }])
      yield* sql`SET TimeZone = 'Europe/Paris'`
      expect(yield* zone).toEqual([{ zone: "Asia/Tokyo" }])
      expect(yield* pool.stats).toMatchObject({ opened: 1 })
    }).pipe(
      Effect.provide(
        poolLayer({
          maxConnections: 1,
          onConnect: (connection) => connection.executeRaw("SET TimeZone = 'Asia/Tokyo'", [])
        })
      )
    )
  )

  it.scoped("idle connections that the server terminates are gone before anybody borrows them", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const pool = yield* PgPool.PgPool
      yield* eventually(pool.stats, (stats) => stats.idle === 3)
      yield* outside(
        Effect.flatMap(
          SqlClient.SqlClient,
          (sql) => sql`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = '@checkpool/pg'`
        )
      )
      yield* eventually(pool.stats, (stats) => stats.closed === 3)
      for (let i = 0; i < 10; i++) expect(yield* sql`SELECT 1 AS one`).toEqual([{ one: 1 }])
    }).pipe(Effect.provide(poolLayer({ minConnections: 3 })))
  )

  it.scoped("what functions of the user's own hide is reset if asked to: reset: always", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      yield* sql`CREATE FUNCTION hides() RETURNS text LANGUAGE sql AS $$ SELECT set_config('my.own', 'hidden', false) $$`
      const left = (config: PgPoolConfig.PgPoolConfig["reset"]) =>
        Effect.gen(function* () {
          const sql = yield* SqlClient.SqlClient
          yield* sql`SELECT hides()`
          return (yield* sql`SELECT current_setting('my.own', true)`.values)[0]?.[0] || "nothing"
        }).pipe(Effect.provide(poolLayer({ maxConnections: 1, reset: config })))
      expect(yield* left("dirtied")).toBe("hidden")
      expect(yield* left("always")).toBe("nothing")
    }).pipe(Effect.provide(poolLayer({ maxConnections: 1 })))
  )

  it.scoped("one that onConnect refuses is never lent, and whoever waits is told why", () =>
    Effect.gen(function* () {
      let refuses = false
      const live = poolLayer({
        maxConnections: 1,
        maxUses: 1,
        unavailableAfter: 0,
        onConnect: (connection) => (refuses ? connection.executeUnprepared("SELECT 1 / 0", [], undefined) : Effect.void)
      })
      yield* Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        refuses = true
        yield* sql`SELECT 1`
        const error = yield* Effect.flip(sql`SELECT 1`)
        expect(PgPool.poolError(error)?._tag).toBe("PoolUnavailable")
        expect(SqlState.of(error)).toBe("22012")
        refuses = false
        yield* eventually(Effect.option(sql`SELECT 1`), (rows) => rows._tag === "Some")
      }).pipe(Effect.provide(live))
    })
  )
})
