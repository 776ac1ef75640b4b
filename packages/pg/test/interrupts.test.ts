import { PgPool, SqlState } from "@checkpool/pg"
import { SqlClient } from "@effect/sql"
import { expect, layer } from "@effect/vitest"
import { Effect, Exit, Fiber, Stream } from "effect"
import { eventually } from "./eventually.ts"
import { backends, poolLayer, running, ServerLive } from "./server.ts"

layer(ServerLive, { excludeTestServices: true, timeout: "60 seconds" })("interrupts", (it) => {
  it.scoped("an interrupted statement is cancelled on the server, and its connection is used again", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const pool = yield* PgPool.PgPool
      const fiber = yield* Effect.fork(sql`SELECT pg_sleep(3600)`)
      yield* eventually(running("SELECT pg_sleep(3600"), (n) => n === 1)
      const exit = yield* Fiber.interrupt(fiber)
      expect(Exit.isInterrupted(exit)).toBe(true)
      expect(yield* sql`SELECT 1 AS one`).toEqual([{ one: 1 }])
      expect(yield* running("SELECT pg_sleep(3600")).toBe(0)
      expect(yield* pool.stats).toMatchObject({ leased: 0, waiting: 0, opened: 1, closed: 0 })
    }).pipe(Effect.provide(poolLayer({ maxConnections: 1 })))
  )

  it.scoped("an interrupted statement that waits for its turn on a connection cancels nobody else's", () =>
    Effect.gen(function* () {
      const pool = yield* PgPool.PgPool
      const slow = yield* pool.use((connection) =>
        Effect.gen(function* () {
          const slow = yield* Effect.fork(connection.execute("SELECT pg_sleep(0.3), 'done' AS slow", [], undefined))
          yield* eventually(running("SELECT pg_sleep(0.3"), (n) => n === 1)
          const waiting = yield* Effect.fork(connection.execute("SELECT 1", [], undefined))
          yield* Effect.yieldNow()
          yield* Fiber.interrupt(waiting)
          return yield* Fiber.join(slow)
        })
      )
      expect(slow).toMatchObject([{ slow: "done" }])
    }).pipe(Effect.provide(poolLayer({ maxConnections: 1 })))
  )

  it.scoped("an interrupt that comes before the server has seen the statement still ends it", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const pool = yield* PgPool.PgPool
      yield* sql`SELECT 1`
      for (let i = 0; i < 30; i++) {
        const fiber = yield* Effect.fork(sql`SELECT pg_sleep(3600) AS early`)
        for (let turns = 0; turns < i % 6; turns++) yield* Effect.yieldNow()
        yield* Fiber.interrupt(fiber)
      }
      expect(yield* sql`SELECT 1 AS one`).toEqual([{ one: 1 }])
      expect(yield* pool.stats).toMatchObject({ opened: 1, closed: 0 })
    }).pipe(Effect.provide(poolLayer({ maxConnections: 1 })))
  )

  it.scoped("500 interrupts that race the end of their statements cancel none of anybody else's", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const pool = yield* PgPool.PgPool
      let cancelled = 0
      const bystander = sql`SELECT pg_sleep(0.002)`.pipe(Effect.forever, Effect.fork)
      const bystanders = yield* Effect.all([bystander, bystander])
      yield* Effect.forEach(
        Array.from({ length: 500 }, (_, i) => i),
        (i) =>
          Effect.gen(function* () {
            const fiber = yield* Effect.fork(sql`SELECT pg_sleep(0.001)`)
            for (let turns = 0; turns < i % 40; turns++) yield* Effect.promise(() => new Promise(setImmediate))
            if (Exit.isInterrupted(yield* Fiber.interrupt(fiber))) cancelled++
          }),
        { concurrency: 2 }
      )
      // None of them has failed, and so none was cancelled.
      for (const fiber of bystanders) expect(Exit.isInterrupted(yield* Fiber.interrupt(fiber))).toBe(true)
      expect(cancelled).toBeGreaterThan(0)
      yield* eventually(pool.stats, (stats) => stats.leased === 0 && stats.resetting === 0)
      expect(yield* backends).toBeLessThanOrEqual(4)
    }).pipe(Effect.provide(poolLayer({ maxConnections: 4 })))
  )

  it.scoped("a stream that is interrupted or fails midway gives its connection back", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const pool = yield* PgPool.PgPool
      const failing = sql`SELECT 1 / (500 - n) FROM generate_series(1, 1000) AS n`.stream
      const error = yield* Effect.flip(Stream.runDrain(failing))
      expect(SqlState.of(error)).toBe("22012")
      expect(yield* sql`SELECT 1 AS one`).toEqual([{ one: 1 }])
      expect(yield* pool.stats).toMatchObject({ leased: 0, opened: 1 })
      const fiber = yield* Effect.fork(Stream.runDrain(sql`SELECT pg_sleep(3600)`.stream))
      yield* eventually(running("SELECT pg_sleep(3600"), (n) => n === 1)
      yield* Fiber.interrupt(fiber)
      expect(yield* sql`SELECT 1 AS one`).toEqual([{ one: 1 }])
      yield* eventually(running("SELECT pg_sleep(3600"), (n) => n === 0)
    }).pipe(Effect.provide(poolLayer({ maxConnections: 1 })))
  )
})
