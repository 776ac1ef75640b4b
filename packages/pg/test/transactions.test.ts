import { PgError, PgPool, SqlState } from "@checkpool/pg"
import { PoolError } from "@checkpool/pool"
import { SqlClient, SqlError } from "@effect/sql"
import { expect, layer } from "@effect/vitest"
import { Cause, Effect, Exit, Fiber, Option } from "effect"
import { eventually } from "./eventually.ts"
import { outside, poolLayer, ServerLive } from "./server.ts"

const failureOf = <A, E>(exit: Exit.Exit<A, E>) =>
  Exit.isFailure(exit) ? Option.getOrUndefined(Cause.failureOption(exit.cause)) : undefined

layer(ServerLive, { excludeTestServices: true, timeout: "60 seconds" })("withTransaction", (it) => {
  it.scoped("commits, rolls back, and nests by savepoints", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      yield* sql`CREATE TABLE nested (id int)`
      yield* sql.withTransaction(sql`INSERT INTO nested VALUES (1)`)
      yield* Effect.ignore(sql.withTransaction(Effect.zipRight(sql`INSERT INTO nested VALUES (2)`, Effect.fail("no"))))
      yield* sql.withTransaction(
        Effect.gen(function* () {
          yield* sql`INSERT INTO nested VALUES (3)`
          yield* Effect.ignore(
            sql.withTransaction(
              Effect.zipRight(sql`INSERT INTO nested VALUES (4)`, sql`INSERT INTO nowhere VALUES (1)`)
            )
          )
          yield* sql.withTransaction(sql`INSERT INTO nested VALUES (5)`)
        })
      )
      expect(yield* sql`SELECT id FROM nested ORDER BY id`.values).toEqual([[1], [3], [5]])
    }).pipe(Effect.provide(poolLayer()))
  )

  it.scoped("a COMMIT that fails is a typed error and not a defect", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      yield* sql`CREATE TABLE deferred (id int UNIQUE DEFERRABLE INITIALLY DEFERRED)`
      const exit = yield* Effect.exit(sql.withTransaction(sql`INSERT INTO deferred VALUES (1), (1)`))
      expect(SqlState.of(failureOf(exit))).toBe("23505")
      expect(yield* sql`SELECT * FROM deferred`).toEqual([])
    }).pipe(Effect.provide(poolLayer({ maxConnections: 1 })))
  )

  it.scoped("a COMMIT that the server answers with ROLLBACK is no success", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      yield* sql`CREATE TABLE swallowed (id int)`
      const exit = yield* Effect.exit(
        sql.withTransaction(Effect.zipRight(sql`INSERT INTO swallowed VALUES (1)`, Effect.ignore(sql`SELECT 1 / 0`)))
      )
      const error = failureOf(exit) as SqlError.SqlError
      expect(error).toBeInstanceOf(SqlError.SqlError)
      expect(error.cause).toBeInstanceOf(PgError.TransactionRolledBack)
      expect(yield* sql`SELECT * FROM swallowed`).toEqual([])
    }).pipe(Effect.provide(poolLayer({ maxConnections: 1 })))
  )

  it.scoped("a connection lost in the middle is a typed error, and the next transaction has another one", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const exit = yield* Effect.exit(
        sql.withTransaction(
          Effect.gen(function* () {
            const [row] = yield* sql<{ pid: number }>`SELECT pg_backend_pid() AS pid`
            yield* outside(
              Effect.flatMap(SqlClient.SqlClient, (other) => other`SELECT pg_terminate_backend(${row!.pid})`)
            )
            return yield* sql`SELECT 1`
          })
        )
      )
      expect(failureOf(exit)).toBeInstanceOf(SqlError.SqlError)
      expect(yield* sql.withTransaction(sql`SELECT 1 AS one`)).toEqual([{ one: 1 }])
    }).pipe(Effect.provide(poolLayer({ maxConnections: 1 })))
  )

  it.scoped("an interrupt in the middle rolls back, and the connection is used again", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const pool = yield* PgPool.PgPool
      yield* sql`CREATE TABLE interrupted (id int)`
      const fiber = yield* Effect.fork(
        sql.withTransaction(Effect.zipRight(sql`INSERT INTO interrupted VALUES (1)`, sql`SELECT pg_sleep(3600)`))
      )
      yield* eventually(
        outside(
          Effect.flatMap(
            SqlClient.SqlClient,
            (sql) => sql`SELECT 1 FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep(3600%' AND state = 'active'
              AND pid <> pg_backend_pid()`
          )
        ),
        (rows) => rows.length === 1
      )
      expect(Exit.isInterrupted(yield* Fiber.interrupt(fiber))).toBe(true)
      expect(yield* sql`SELECT * FROM interrupted`).toEqual([])
      expect(yield* pool.stats).toMatchObject({ opened: 1, leased: 0 })
    }).pipe(Effect.provide(poolLayer({ maxConnections: 1 })))
  )

  it.scoped("the wait for a connection can be interrupted", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const pool = yield* PgPool.PgPool
      yield* Effect.scoped(
        Effect.gen(function* () {
          yield* sql.reserve
          const waiting = yield* Effect.fork(sql.withTransaction(sql`SELECT 1`))
          yield* eventually(pool.stats, (stats) => stats.waiting === 1)
          expect(Exit.isInterrupted(yield* Fiber.interrupt(waiting))).toBe(true)
          expect(yield* pool.stats).toMatchObject({ waiting: 0, leased: 1 })
        })
      )
      expect(yield* sql`SELECT 1 AS one`).toEqual([{ one: 1 }])
    }).pipe(Effect.provide(poolLayer({ maxConnections: 1, acquireTimeout: "1 minute" })))
  )

  it.scoped("what the user's own effect fails with reaches its caller as it is, also a pool's error", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const own = new PoolError.PoolClosed({ pool: "another", since: 0 })
      expect(yield* Effect.flip(sql.withTransaction(Effect.fail(own)))).toBe(own)
      expect(failureOf(yield* Effect.exit(sql.withTransaction(Effect.die("bug"))))).toBeUndefined()
      expect(yield* sql`SELECT 1 AS one`).toEqual([{ one: 1 }])
    }).pipe(Effect.provide(poolLayer({ maxConnections: 1 })))
  )

  it.scoped("a transaction of plain statements costs its two commands and no reset", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const pool = yield* PgPool.PgPool
      const statements = pool.use((connection) => Effect.succeed(connection.statements))
      const before = yield* statements
      yield* sql.withTransaction(sql`SELECT 1`)
      expect(yield* statements).toBe(before + 3)
    }).pipe(Effect.provide(poolLayer({ maxConnections: 1 })))
  )
})
