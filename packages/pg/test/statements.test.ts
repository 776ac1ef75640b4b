import { createHash } from "node:crypto"
import { PgPool } from "@checkpool/pg"
import { SqlClient } from "@effect/sql"
import { expect, layer } from "@effect/vitest"
import { Effect } from "effect"
import { poolLayer, ServerLive } from "./server.ts"

layer(ServerLive, { excludeTestServices: true, timeout: "60 seconds" })("statements on pooled connections", (it) => {
  it.scoped("statements are prepared once for a connection, and the least recently used are closed on the server", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const held = Effect.map(
        sql<{ n: number }>`SELECT count(*)::int AS n FROM pg_prepared_statements`.unprepared,
        ([row]) => row!.n
      )
      yield* Effect.repeatN(sql`SELECT 1`, 5)
      expect(yield* held).toBe(1)
      for (let i = 0; i < 10; i++) yield* sql.unsafe(`SELECT ${i} AS i`)
      expect(yield* sql.unsafe("SELECT 9 AS i")).toEqual([{ i: 9 }])
      expect(yield* held).toBe(3)
    }).pipe(Effect.provide(poolLayer({ maxConnections: 1, statementCacheSize: 3 })))
  )

  it.scoped("a prepared statement that the server has dropped or outdated is run all the same", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      yield* sql`CREATE TABLE changing (a int)`
      yield* sql`INSERT INTO changing VALUES (1)`
      const select = sql`SELECT * FROM changing`
      expect(yield* select).toEqual([{ a: 1 }])
      yield* sql`ALTER TABLE changing ADD COLUMN b int DEFAULT 2`
      expect(yield* select).toEqual([{ a: 1, b: 2 }])
      yield* sql`DEALLOCATE ALL`
      expect(yield* select).toEqual([{ a: 1, b: 2 }])
    }).pipe(Effect.provide(poolLayer({ maxConnections: 1 })))
  )

  it.scoped("a value that can't be sent fails its statement alone, and the next one with the same text runs", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const pool = yield* PgPool.PgPool
      const select = (value: unknown) => sql`SELECT ${value as string}::text AS value`
      const unsendable = {
        toPostgres: () => {
          throw new Error("no such value")
        }
      }
      const rows = yield* sql.withTransaction(
        Effect.gen(function* () {
          const error = yield* Effect.flip(select(unsendable))
          expect(error.cause).toMatchObject({ message: "no such value" })
          return yield* select("one that can be sent")
        })
      )
      expect(rows).toEqual([{ value: "one that can be sent" }])
      expect(yield* pool.stats).toMatchObject({ opened: 1, closed: 0 })
    }).pipe(Effect.provide(poolLayer({ maxConnections: 1 })))
  )

  it.scoped("large values arrive as they are, from many at once and with some given up on", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      // More than a socket takes at once, so that the rest waits for its turn while others send theirs.
      const one = (n: number) =>
        Effect.gen(function* () {
          const value = Buffer.alloc(7_000_000 + 100_000 * (n % 7), n)
          const select = sql<{ md5: string }>`SELECT md5(${value}::bytea) AS md5`
          if (n % 5 === 0) return yield* Effect.asVoid(Effect.timeoutOption(select, 10))
          const expected = createHash("md5").update(value).digest("hex")
          expect(yield* select).toEqual([{ md5: expected }])
        })
      yield* Effect.forEach(
        Array.from({ length: 40 }, (_, n) => n),
        one,
        { concurrency: 8 }
      )
    }).pipe(Effect.provide(poolLayer({ maxConnections: 4 })))
  )
})
