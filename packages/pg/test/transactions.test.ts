import { EmbeddedPostgres, TcpRelay } from "@checkpool/embedded"
import { PgError, PgPool, SqlState } from "@checkpool/pg"
import { PoolError } from "@checkpool/pool"
import { SqlClient, SqlError } from "@effect/sql"
import { expect, layer } from "@effect/vitest"
import { Cause, Effect, Exit, Fiber, Option } from "effect"
import { eventually } from "./eventually.ts"
import { outside, poolLayer, running, ServerLive, through } from "./server.ts"

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

  it.scoped(
    "a COMMIT that the server refuses for the sake of serializability is a typed error, worth another try",
    () =>
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        yield* sql`CREATE TABLE doctors (id int, on_call bool)`
        yield* sql`INSERT INTO doctors VALUES (1, true), (2, true)`
        const bothLooked = yield* Effect.makeLatch()
        let looked = 0
        const goHome = (id: number) =>
          sql.withTransaction(
            Effect.gen(function* () {
              yield* sql`SET TRANSACTION ISOLATION LEVEL SERIALIZABLE`
              const [row] = yield* sql<{ n: number }>`SELECT count(*)::int AS n FROM doctors WHERE on_call`
              if (++looked === 2) yield* bothLooked.open
              yield* bothLooked.await
              if (row!.n > 1) yield* sql`UPDATE doctors SET on_call = false WHERE id = ${id}`
            })
          )
        const exits = yield* Effect.all([Effect.exit(goHome(1)), Effect.exit(goHome(2))], { concurrency: 2 })
        const failures = exits.flatMap((exit) => failureOf(exit) ?? [])
        expect(failures.map(SqlState.of)).toEqual(["40001"])
        expect(failures.map(PgPool.isTransient)).toEqual([true])
        expect(yield* sql`SELECT count(*)::int AS n FROM doctors WHERE on_call`).toEqual([{ n: 1 }])
      }).pipe(Effect.provide(poolLayer({ maxConnections: 2 })))
  )

  /** A table whose rows make COMMIT take as long as somebody holds the advisory lock 1. */
  const slowToCommit = Effect.flatMap(
    SqlClient.SqlClient,
    (sql) => sql`
      CREATE TABLE IF NOT EXISTS slow (id int);
      CREATE OR REPLACE FUNCTION hesitate() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN PERFORM pg_advisory_xact_lock(1); RETURN NULL; END';
      DROP TRIGGER IF EXISTS hesitates ON slow;
      CREATE CONSTRAINT TRIGGER hesitates AFTER INSERT ON slow DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION hesitate();
      TRUNCATE slow`
  )

  /** Runs an effect while a transaction that inserts one row hangs in its COMMIT. */
  const whileItCommits = <A, E, R>(
    id: number,
    f: (committing: Fiber.RuntimeFiber<unknown, SqlError.SqlError>) => Effect.Effect<A, E, R>
  ) =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      yield* slowToCommit
      // Not in a transaction of its own: the one that is watched would nest in it.
      return yield* outside(
        Effect.flatMap(SqlClient.SqlClient, ({ reserve }) =>
          Effect.scoped(
            Effect.gen(function* () {
              yield* Effect.flatMap(reserve, (other) => other.executeRaw("SELECT pg_advisory_lock(1)", []))
              const committing = yield* Effect.fork(sql.withTransaction(sql`INSERT INTO slow VALUES (${id})`))
              yield* eventually(running("COMMIT"), (n) => n === 1)
              return yield* f(committing)
            })
          )
        )
      )
    })

  it.scoped("a connection that is lost during COMMIT is a typed error and not a defect", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const exit = yield* whileItCommits(1, (committing) =>
        Effect.gen(function* () {
          yield* outside(
            Effect.flatMap(
              SqlClient.SqlClient,
              (sql) => sql`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query = 'COMMIT'`
            )
          )
          return yield* Fiber.await(committing)
        })
      )
      expect(failureOf(exit)).toBeInstanceOf(SqlError.SqlError)
      expect(PgPool.isTransient(failureOf(exit))).toBe(true)
      expect(yield* sql`SELECT * FROM slow`).toEqual([])
    }).pipe(Effect.provide(poolLayer({ maxConnections: 1 })))
  )

  it.scoped("an interrupt during COMMIT waits for its outcome", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const pool = yield* PgPool.PgPool
      const committing = yield* whileItCommits(2, (committing) =>
        Effect.gen(function* () {
          yield* Fiber.interruptFork(committing)
          // Longer than a cancel takes to arrive.
          for (let i = 0; i < 5; i++) expect(yield* running("COMMIT")).toBe(1)
          return committing
        })
      )
      yield* Fiber.await(committing)
      expect(yield* sql`SELECT id FROM slow`).toEqual([{ id: 2 }])
      expect(yield* pool.stats).toMatchObject({ opened: 1, closed: 0 })
    }).pipe(Effect.provide(poolLayer({ maxConnections: 1 })))
  )

  it.scoped("when BEGIN fails, nothing of the effect runs and nothing is rolled back", () =>
    Effect.gen(function* () {
      const server = yield* EmbeddedPostgres.EmbeddedPostgres
      const relay = yield* TcpRelay.make({ target: server })
      yield* Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        const pool = yield* PgPool.PgPool
        yield* sql`SELECT 1`
        let ran = false
        yield* relay.blackhole
        const exit = yield* Effect.exit(sql.withTransaction(Effect.sync(() => (ran = true))))
        yield* relay.restore
        expect(failureOf(exit)).toBeInstanceOf(SqlError.SqlError)
        expect(ran).toBe(false)
        yield* eventually(pool.stats, ({ closed, leased }) => closed === 1 && leased === 0)
        expect(yield* sql.withTransaction(sql`SELECT 1 AS one`)).toEqual([{ one: 1 }])
      }).pipe(
        Effect.provide(
          PgPool.layer({
            url: through(server.url, relay),
            maxConnections: 1,
            minConnections: 0,
            commandTimeout: "50 millis"
          })
        )
      )
    })
  )

  it.scoped("interrupted at any point, it is there whole or not at all, and its connection is clean", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const pool = yield* PgPool.PgPool
      yield* sql`CREATE TABLE pairs (id int, half int)`
      const insert = (id: number, half: number) => sql`INSERT INTO pairs VALUES (${id}, ${half})`
      const pair = (id: number) =>
        sql.withTransaction(Effect.zipRight(insert(id, 1), sql.withTransaction(insert(id, 2))))
      let interrupted = 0
      yield* Effect.forEach(
        Array.from({ length: 240 }, (_, id) => id),
        (id) =>
          Effect.gen(function* () {
            const fiber = yield* Effect.fork(pair(id))
            for (let turns = 0; turns < id % 80; turns++) yield* Effect.promise(() => new Promise(setImmediate))
            if (Exit.isInterrupted(yield* Fiber.interrupt(fiber))) interrupted++
          })
      )
      expect(interrupted).toBeGreaterThan(0)
      expect(yield* sql`SELECT id FROM pairs GROUP BY id HAVING count(*) <> 2`).toEqual([])
      expect(yield* sql`SELECT count(DISTINCT id)::int AS n FROM pairs`.values).not.toEqual([[0]])
      expect(yield* pool.use(({ client }) => Effect.succeed(client.getTransactionStatus()))).toBe("I")
      expect(yield* pool.stats).toMatchObject({ leased: 0, opened: 1, closed: 0 })
    }).pipe(Effect.provide(poolLayer({ maxConnections: 1 })))
  )
})
