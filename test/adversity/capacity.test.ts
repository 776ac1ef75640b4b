import { EmbeddedPostgres } from "@checkpool/embedded"
import { PgPool } from "@checkpool/pg"
import { PoolEvent } from "@checkpool/pool"
import { SqlClient } from "@effect/sql"
import { expect, layer } from "@effect/vitest"
import { Effect, Fiber, Redacted } from "effect"
import { eventually } from "./eventually.ts"
import { answersAgain } from "./onRelay.ts"
import { ordeal } from "./ordeal.ts"
import { makeOutside } from "./outside.ts"
import { parameters } from "./servers.ts"

// 11 connections less 3 for superusers, and less the one that looks on: 7 for the rest.
const FullServerLive = EmbeddedPostgres.layer({
  parameters: { ...parameters, max_connections: "11", superuser_reserved_connections: "3", max_wal_senders: "0" }
})

const password = "only for tests"

/** The server's URL for a role without privileges. */
const asTenant = Effect.gen(function* () {
  const { url } = yield* EmbeddedPostgres.EmbeddedPostgres
  yield* Effect.scoped(
    Effect.gen(function* () {
      const outside = yield* makeOutside(url)
      yield* outside.query("DROP ROLE IF EXISTS tenant")
      yield* outside.query(`CREATE ROLE tenant LOGIN PASSWORD '${password}'`)
    })
  )
  const tenant = new URL(Redacted.value(url))
  tenant.username = "tenant"
  tenant.password = encodeURIComponent(password)
  return Redacted.make(tenant.toString())
})

/**
 * The stats once the pool has so many connections of a server that has no more, and has been refused another one. Whoever is
 * refused holds a place until it is gone: of 20 that connect at once to 7 places, 6 or 5 are let in at times, whatever the
 * client. So the last ones may have to be asked for again, by those who wait.
 */
const grownTo = (connections: number) =>
  Effect.gen(function* () {
    const pool = yield* PgPool.PgPool
    const sql = yield* SqlClient.SqlClient
    const load = Effect.all(
      Array.from({ length: 50 }, () => sql`SELECT pg_sleep(0.005)`),
      { concurrency: "unbounded" }
    )
    return yield* eventually(
      Effect.zipRight(load, pool.stats),
      ({ atCapacity, opened }) => opened === connections && atCapacity
    )
  })

layer(FullServerLive, { excludeTestServices: true, timeout: "60 seconds" })("a server that is full (53300)", (it) => {
  it.effect("carries on with what it gets, and no caller fails", () =>
    Effect.gen(function* () {
      const url = yield* asTenant
      yield* ordeal("the server gives 7 of 20 connections", { url, maxConnections: 20 }, (watch) =>
        Effect.gen(function* () {
          const sql = yield* SqlClient.SqlClient
          const answers = yield* Effect.all(
            Array.from({ length: 500 }, (_, i) => sql<{ i: number }>`SELECT ${i}::int AS i, pg_sleep(0.005)`),
            { concurrency: "unbounded" }
          )
          expect(answers.map(([row]) => row!.i)).toEqual(Array.from({ length: 500 }, (_, i) => i))
          expect(watch.events.some(PoolEvent.PoolEvent.$is("AtCapacity"))).toBe(true)
          const stats = yield* grownTo(7)
          expect(stats).toMatchObject({ closed: 0, timedOut: 0, rejected: 0, unavailable: false })
          // It asks again with pauses that grow, however many wait.
          expect(stats.connectFailures).toBeLessThanOrEqual(12)
          yield* watch.report({ failures: 0, served: 500, opened: stats.opened, refused: stats.connectFailures })
        })
      )
    })
  )

  it.effect("grows again when others leave", () =>
    Effect.gen(function* () {
      const url = yield* asTenant
      yield* ordeal("others hold 5 of the 7, and leave", { url, maxConnections: 20 }, (watch) =>
        Effect.gen(function* () {
          const pool = yield* PgPool.PgPool
          const sql = yield* SqlClient.SqlClient
          yield* Effect.scoped(
            Effect.gen(function* () {
              const others = yield* Effect.all(Array.from({ length: 5 }, () => makeOutside(url)))
              for (const other of others) yield* other.query("SELECT 1")
              expect(yield* grownTo(2)).toMatchObject({ timedOut: 0, rejected: 0, atCapacity: true })
            })
          )
          yield* watch.mended
          const busy = yield* Effect.forEach(Array.from({ length: 20 }), () =>
            Effect.forkScoped(Effect.forever(sql`SELECT pg_sleep(0.01)`))
          )
          const stats = yield* eventually(pool.stats, (stats) => stats.opened === 7)
          expect(stats).toMatchObject({ closed: 0, timedOut: 0, rejected: 0 })
          yield* Fiber.interruptAll(busy)
          yield* watch.works
          yield* watch.report({ failures: 0, "opened before": 2, after: stats.opened, refused: stats.connectFailures })
        })
      )
    })
  )

  it.effect("starts with what it gets, and keeps to its word when there is nothing at all", () =>
    Effect.gen(function* () {
      const url = yield* asTenant
      yield* ordeal(
        "the server gives 7 of 20, then none, then 7",
        { url, minConnections: 10, maxConnections: 20, start: "min", acquireTimeout: "300 millis" },
        (watch) =>
          Effect.gen(function* () {
            const pool = yield* PgPool.PgPool
            const sql = yield* SqlClient.SqlClient
            const stats = yield* eventually(pool.stats, (stats) => stats.idle === 7 && stats.atCapacity)
            expect(stats).toMatchObject({ unavailable: false })
            // Somebody takes each place that becomes free: waiting ends in time, and says why nothing came.
            yield* watch.outside.query("ALTER ROLE tenant CONNECTION LIMIT 0")
            yield* watch.outside.terminateAll
            yield* eventually(pool.stats, (stats) => stats.idle === 0)
            const error = yield* Effect.flip(sql`SELECT 1`)
            expect(PgPool.poolError(error)).toMatchObject({ _tag: "AcquireTimeout" })
            // Whichever limit the last attempt met: the role's, or before that the server's.
            expect(error.message).toContain("53300")
            yield* watch.outside.query("ALTER ROLE tenant CONNECTION LIMIT -1")
            yield* watch.mended
            yield* answersAgain
            yield* watch.works
            yield* eventually(pool.stats, (stats) => stats.idle === 7)
            yield* watch.report({ failures: 1 })
          })
      )
    })
  )
})
