import { PgPool } from "@checkpool/pg"
import { SqlClient } from "@effect/sql"
import { expect, layer } from "@effect/vitest"
import { Chunk, Effect, Fiber, Stream } from "effect"
import { eventually } from "../eventually.ts"
import { outside, poolLayer, ServerLive } from "../server.ts"
import { sameOnBoth } from "./stock.ts"

layer(ServerLive, { excludeTestServices: true, timeout: "60 seconds" })("streams", (it) => {
  it.effect("give all rows in chunks of 128, or the error in their middle", () =>
    Effect.gen(function* () {
      const result = yield* sameOnBoth(
        Effect.gen(function* () {
          const sql = yield* SqlClient.SqlClient
          const stream = sql<{ n: number }>`SELECT n FROM generate_series(1, ${300}::int) AS n`.stream
          const failing = sql`SELECT 1 / (200 - n) FROM generate_series(1, 300) AS n`.stream
          return {
            chunks: Chunk.toReadonlyArray(
              yield* Stream.runCollect(Stream.mapChunks(stream, (c) => Chunk.of(c.length)))
            ),
            sum: yield* Stream.runFold(stream, 0, (sum, { n }) => sum + n),
            first: Chunk.toReadonlyArray(yield* Stream.runCollect(Stream.take(stream, 2))),
            before: yield* Stream.runCount(Stream.catchAll(failing, () => Stream.empty)),
            error: yield* Effect.map(Effect.flip(Stream.runDrain(failing)), ({ message }) => message),
            none: yield* Stream.runCount(sql`SELECT 1 WHERE false`.stream)
          }
        })
      )
      expect(result).toMatchObject({ chunks: [128, 128, 44], sum: 45150, first: [{ n: 1 }, { n: 2 }], none: 0 })
    })
  )

  it.effect("see their own transaction", () =>
    Effect.gen(function* () {
      const count = yield* sameOnBoth(
        Effect.gen(function* () {
          const sql = yield* SqlClient.SqlClient
          return yield* sql.withTransaction(
            Effect.gen(function* () {
              yield* sql`CREATE TABLE streamed AS SELECT generate_series(1, 200) AS n`
              const count = yield* Stream.runCount(sql`SELECT n FROM streamed`.stream)
              yield* sql`INSERT INTO streamed VALUES (201)`
              return [count, yield* Stream.runCount(Stream.take(sql`SELECT n FROM streamed`.stream, 150))]
            })
          )
        })
      )
      expect(count).toEqual([200, 150])
    })
  )

  it.scoped("several at once have a connection each, and give them all back", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const pool = yield* PgPool.PgPool
      const counts = yield* Effect.forEach(
        [1, 2, 3, 4, 5, 6],
        () => Stream.runCount(sql`SELECT generate_series(1, 500)`.stream),
        { concurrency: "unbounded" }
      )
      expect(counts).toEqual([500, 500, 500, 500, 500, 500])
      expect(yield* pool.stats).toMatchObject({ leased: 0, waiting: 0 })
    }).pipe(Effect.provide(poolLayer({ maxConnections: 3 })))
  )

  it.scoped("one that is interrupted while the server is at work ends the work and gives its connection back", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const pool = yield* PgPool.PgPool
      const fiber = yield* Effect.fork(Stream.runDrain(sql`SELECT pg_sleep(3600) AS streaming`.stream))
      const working = outside(
        Effect.flatMap(
          SqlClient.SqlClient,
          (sql) => sql`SELECT 1 FROM pg_stat_activity WHERE query LIKE '%pg_sleep(3600) AS streaming%'
            AND state = 'active' AND pid <> pg_backend_pid()`
        )
      )
      yield* eventually(working, (rows) => rows.length === 1)
      yield* Fiber.interrupt(fiber)
      yield* eventually(working, (rows) => rows.length === 0)
      expect(yield* sql`SELECT 1 AS one`).toEqual([{ one: 1 }])
      expect(yield* pool.stats).toMatchObject({ leased: 0, waiting: 0, opened: 1, closed: 0 })
    }).pipe(Effect.provide(poolLayer({ maxConnections: 1 })))
  )

  it.scoped("one that waits for another on the same connection can be interrupted, and harms it not", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const pool = yield* PgPool.PgPool
      const sum = yield* sql.withTransaction(
        Effect.gen(function* () {
          let waited = false
          const first = sql<{ n: number }>`SELECT generate_series(1, 1000) AS n`.stream.pipe(
            Stream.tap(() =>
              Effect.gen(function* () {
                if (waited) return
                waited = true
                const second = yield* Effect.fork(Stream.runDrain(sql`SELECT 2`.stream))
                yield* Effect.yieldNow()
                yield* Fiber.interrupt(second)
              })
            )
          )
          const sum = yield* Stream.runFold(first, 0, (sum, { n }) => sum + n)
          expect(yield* sql`SELECT 3 AS three`).toEqual([{ three: 3 }])
          return sum
        })
      )
      expect(sum).toBe(500500)
      expect(yield* pool.stats).toMatchObject({ leased: 0, opened: 1, closed: 0 })
    }).pipe(Effect.provide(poolLayer({ maxConnections: 1 })))
  )
})
