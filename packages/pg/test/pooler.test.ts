import type { EmbeddedPostgres } from "@checkpool/embedded"
import type { PgPoolConfig } from "@checkpool/pg"
import { PgError, PgPool, SqlState } from "@checkpool/pg"
import { SqlClient } from "@effect/sql"
import { PgClient } from "@effect/sql-pg"
import { expect, layer } from "@effect/vitest"
import type { Scope } from "effect"
import { Effect, Exit, Fiber, Layer, Stream } from "effect"
import { eventually } from "./eventually.ts"
import * as Bouncer from "./pgbouncer.ts"
import { outside, running, ServerLive } from "./server.ts"

type Given = PgPool.PgPool | PgClient.PgClient | SqlClient.SqlClient | EmbeddedPostgres.EmbeddedPostgres | Scope.Scope

const pids = (n: number) =>
  Effect.flatMap(SqlClient.SqlClient, (sql) =>
    Effect.map(
      Effect.forEach(
        Array.from({ length: n }),
        () => sql<{ pid: number }>`SELECT pg_backend_pid() AS pid, pg_sleep(0.01)`,
        { concurrency: "unbounded" }
      ),
      (rows) => new Set(rows.map(([row]) => row?.pid))
    )
  )

// Two sessions for all connections, so that they change hands at each transaction.
const BouncerLive = Layer.provideMerge(Bouncer.layer({ default_pool_size: 2 }), ServerLive)

layer(BouncerLive, { excludeTestServices: true, timeout: "60 seconds" })("behind PgBouncer, transaction mode", (it) => {
  const test = (
    name: string,
    body: (bouncer: Bouncer.Service) => Effect.Effect<unknown, unknown, Given>,
    config: Omit<PgPoolConfig.PgPoolConfig, "url"> = {}
  ) =>
    it.scoped(name, (ctx) =>
      Effect.flatMap(Bouncer.PgBouncer, (bouncer) =>
        typeof bouncer === "string"
          ? Effect.sync(() => ctx.skip(bouncer))
          : Effect.provide(
              body(bouncer),
              PgPool.layer({ pooler: "transaction", maxConnections: 8, minConnections: 0, ...config, url: bouncer.url })
            )
      )
    )

  test("statements of many connections share few sessions, and each gets its own answers", () =>
    Effect.gen(function* () {
      const sql = yield* PgClient.PgClient
      const pool = yield* PgPool.PgPool
      yield* sql`CREATE TABLE answers (id int PRIMARY KEY, doc jsonb)`
      yield* Effect.forEach(
        Array.from({ length: 200 }, (_, id) => id),
        (id) =>
          Effect.gen(function* () {
            yield* sql`INSERT INTO answers ${sql.insert({ id, doc: sql.json({ id }) })}`
            expect(yield* sql`SELECT doc FROM answers WHERE id = ${id}`).toEqual([{ doc: { id } }])
            expect(yield* sql`SELECT ${id}::int AS mine`.values).toEqual([[id]])
          }),
        { concurrency: 16 }
      )
      expect((yield* pids(40)).size).toBe(2)
      expect(yield* pool.stats).toMatchObject({ opened: 8, closed: 0, leased: 0 })
    }))

  test("a transaction keeps its session, rolls back to savepoints, and is nobody else's", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      yield* sql`CREATE TABLE steps (id int, pid int)`
      const insert = (id: number) => sql`INSERT INTO steps VALUES (${id}, pg_backend_pid())`
      const transaction = (id: number) =>
        sql.withTransaction(
          Effect.gen(function* () {
            yield* insert(id)
            yield* Effect.ignore(sql.withTransaction(Effect.zipRight(insert(id), Effect.fail("undone"))))
            yield* sql.withTransaction(insert(id))
          })
        )
      yield* Effect.forEach(
        Array.from({ length: 50 }, (_, id) => id),
        transaction,
        { concurrency: "unbounded" }
      )
      yield* Effect.ignore(sql.withTransaction(Effect.zipRight(insert(50), Effect.fail("undone"))))
      expect(yield* sql`SELECT count(*)::int AS rows, count(DISTINCT id)::int AS ids FROM steps`).toEqual([
        { rows: 100, ids: 50 }
      ])
      expect(yield* sql`SELECT id FROM steps GROUP BY id HAVING count(DISTINCT pid) > 1`).toEqual([])
    }))

  test("what a transaction sets for itself is not there for the next one", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const setting = sql`SELECT current_setting('pooler.mine', true) AS mine`
      yield* sql.withTransaction(
        Effect.gen(function* () {
          yield* sql`SELECT set_config('pooler.mine', 'yes', true)`
          expect(yield* setting).toEqual([{ mine: "yes" }])
        })
      )
      for (let i = 0; i < 8; i++) expect(yield* setting).not.toEqual([{ mine: "yes" }])
    }))

  test("nothing is prepared, so that sessions may change and be opened anew under it", (bouncer) =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const pool = yield* PgPool.PgPool
      const rows = (n: number) =>
        Effect.forEach(Array.from({ length: n }), (_, id) => sql`SELECT ${id}::int AS id, 'prepared?' AS text`.values, {
          concurrency: 8
        })
      yield* rows(50)
      const before = yield* pids(20)
      yield* bouncer.admin("RECONNECT")
      yield* rows(50)
      const after = yield* pids(20)
      expect([...after].filter((pid) => before.has(pid))).toEqual([])
      expect(yield* sql`SELECT name FROM pg_prepared_statements`.unprepared).toEqual([])
      expect(yield* pool.use((connection) => Effect.succeed(connection.prepared))).toBe(0)
      expect(yield* pool.stats).toMatchObject({ closed: 0 })
    }))

  test("a session that is lost fails the statement that runs on it and no other", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const pool = yield* PgPool.PgPool
      const fiber = yield* Effect.fork(sql`SELECT pg_sleep(3600) AS lost`)
      yield* eventually(running("SELECT pg_sleep(3600) AS lost"), (n) => n === 1)
      yield* outside(
        Effect.flatMap(
          SqlClient.SqlClient,
          (sql) => sql`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%AS lost%'
            AND pid <> pg_backend_pid()`
        )
      )
      expect(PgPool.isTransient(yield* Effect.flip(Fiber.join(fiber)))).toBe(true)
      for (let i = 0; i < 10; i++) expect(yield* sql`SELECT 1 AS one`).toEqual([{ one: 1 }])
      yield* eventually(pool.stats, ({ closed, leased }) => closed === 1 && leased === 0)
    }))

  test(
    "a statement beyond the command timeout is cancelled through the pooler, and its connection goes on",
    () =>
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        const pool = yield* PgPool.PgPool
        const error = yield* Effect.flip(sql`SELECT pg_sleep(3600) AS slow`)
        expect(error.cause).toBeInstanceOf(PgError.CommandTimeout)
        expect(SqlState.of(error)).toBe("57014")
        expect(PgPool.isTransient(error)).toBe(false)
        yield* eventually(running("SELECT pg_sleep(3600) AS slow"), (n) => n === 0)
        expect(yield* sql`SELECT 1 AS one`).toEqual([{ one: 1 }])
        expect(SqlState.of(yield* Effect.flip(Stream.runDrain(sql`SELECT pg_sleep(3600) AS slow`.stream)))).toBe(
          "57014"
        )
        yield* eventually(running("SELECT pg_sleep(3600) AS slow"), (n) => n === 0)
        expect(yield* sql`SELECT pg_sleep(0.3)`.pipe(PgPool.withCommandTimeout("1 minute"))).toHaveLength(1)
        expect(yield* pool.stats).toMatchObject({ opened: 1, closed: 0, leased: 0 })
      }),
    { commandTimeout: "100 millis", maxConnections: 1 }
  )

  test("an interrupted statement is cancelled through the pooler, and hits no other", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const pool = yield* PgPool.PgPool
      const bystanders = yield* Effect.fork(Effect.forever(sql`SELECT pg_sleep(0.002)`))
      yield* Effect.forEach(
        Array.from({ length: 100 }, (_, i) => i),
        (i) =>
          Effect.gen(function* () {
            const fiber = yield* Effect.fork(sql`SELECT pg_sleep(${i % 4 === 0 ? 3600 : 0.002}) AS mine`)
            for (let turns = 0; turns < (i * 7) % 60; turns++) yield* Effect.promise(() => new Promise(setImmediate))
            yield* Fiber.interrupt(fiber)
          }),
        { concurrency: 4 }
      )
      expect(Exit.isInterrupted(yield* Fiber.interrupt(bystanders))).toBe(true)
      yield* eventually(pool.stats, ({ leased, resetting }) => leased + resetting === 0)
      yield* eventually(running("SELECT pg_sleep"), (n) => n === 0)
      expect(yield* pool.stats).toMatchObject({ closed: 0 })
    }))

  test("streams read in pieces, and may be left in their middle", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const pool = yield* PgPool.PgPool
      const rows = sql<{ n: number }>`SELECT n FROM generate_series(1, 1000) AS n`.stream
      const sums = yield* Effect.forEach([1, 2, 3, 4], () => Stream.runFold(rows, 0, (sum, { n }) => sum + n), {
        concurrency: 4
      })
      expect(sums).toEqual([500500, 500500, 500500, 500500])
      for (let i = 0; i < 10; i++) expect(yield* Stream.runCount(Stream.take(rows, 1))).toBe(1)
      expect(yield* pool.stats).toMatchObject({ closed: 0, leased: 0 })
    }))

  test(
    "an open transaction that a borrower left is rolled back, and nothing else is reset",
    (bouncer) =>
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        const pool = yield* PgPool.PgPool
        const queries = Effect.map(bouncer.admin("SHOW STATS_TOTALS"), (rows) =>
          Number(rows.find(({ database }) => database === "postgres")?.query_count)
        )
        const asked = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
          Effect.gen(function* () {
            const before = yield* queries
            yield* effect
            yield* eventually(pool.stats, (stats) => stats.idle === 1)
            return (yield* queries) - before
          })
        yield* sql`SELECT 1`
        expect(yield* asked(Effect.ignore(sql`SET work_mem = '1234kB'`))).toBe(1)
        expect(yield* asked(sql`RESET work_mem`)).toBe(1)
        const left = Effect.scoped(Effect.flatMap(sql.reserve, (c) => c.executeUnprepared("BEGIN", [], undefined)))
        expect(yield* asked(left)).toBe(2)
        expect(yield* pool.use(({ client }) => Effect.succeed(client.getTransactionStatus()))).toBe("I")
        expect(yield* pool.stats).toMatchObject({ opened: 1, closed: 0 })
      }),
    { maxConnections: 1 }
  )

  test("LISTEN is refused with a typed error, and notifying works", () =>
    Effect.gen(function* () {
      const { client, listen, name } = yield* PgPool.PgPool
      for (const heard of [Stream.runDrain(listen("news")), Stream.runDrain(client.listen("news"))]) {
        const error = yield* Effect.flip(heard)
        expect(error.cause).toEqual(new PgError.SessionRequired({ pool: name, operation: "LISTEN" }))
        expect(error.message).toContain("pooler")
      }
      yield* client.notify("news", "somebody may hear")
    }))

  it.scoped("without `pooler` the refusal to connect says what to set", (ctx) =>
    Effect.gen(function* () {
      const bouncer = yield* Bouncer.PgBouncer
      if (typeof bouncer === "string") return ctx.skip(bouncer)
      const error = yield* Effect.flip(Effect.scoped(Layer.build(PgPool.layer({ url: bouncer.url }))))
      expect(error.message).toMatch(/unsupported startup parameter: statement_timeout.*pooler: "transaction"/)
    })
  )
})

// As with a pooler that ignores what it does not know.
const CarelessLive = Layer.provideMerge(
  Bouncer.layer({ default_pool_size: 2, ignore_startup_parameters: "statement_timeout" }),
  ServerLive
)

layer(CarelessLive, { excludeTestServices: true, timeout: "60 seconds" })(
  "behind a pooler that was not told of",
  (it) => {
    it.scoped("no statement is taken for another one, and those that are lost are run all the same", (ctx) =>
      Effect.gen(function* () {
        const bouncer = yield* Bouncer.PgBouncer
        if (typeof bouncer === "string") return ctx.skip(bouncer)
        const app = Effect.map(
          Layer.build(PgPool.layer({ url: bouncer.url, minConnections: 0, maxConnections: 4 })),
          (context) => (i: number) =>
            Effect.provide(
              Effect.flatMap(SqlClient.SqlClient, (sql) =>
                sql.unsafe<{ v: number }>(`SELECT ${i % 10} * 1000 + $1::int AS v`, [i])
              ),
              context
            )
        )
        const apps = [yield* app, yield* app]
        const wrong = yield* Effect.filter(
          Array.from({ length: 400 }, (_, i) => i),
          (i) => Effect.map(apps[i % 2]!(i), ([row]) => row?.v !== (i % 10) * 1000 + i),
          { concurrency: 8 }
        )
        expect(wrong).toEqual([])
      })
    )
  }
)
