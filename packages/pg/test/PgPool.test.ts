import { EmbeddedPostgres, TcpRelay } from "@checkpool/embedded"
import { PgPool, PgPoolMetrics, SqlState } from "@checkpool/pg"
import { PoolError } from "@checkpool/pool"
import { SqlClient, SqlError } from "@effect/sql"
import { PgClient } from "@effect/sql-pg"
import { expect, layer } from "@effect/vitest"
import { Config, Context, Effect, Exit, Fiber, Layer, Metric, Redacted, Stream } from "effect"
import { eventually } from "./eventually.ts"
import { outside, poolLayer, ServerLive } from "./server.ts"

/** The server's own count of the pool's connections. */
const backends = outside(
  Effect.flatMap(SqlClient.SqlClient, (sql) =>
    Effect.map(
      sql<{ n: number }>`SELECT count(*)::int AS n FROM pg_stat_activity WHERE application_name = '@checkpool/pg'`,
      (rows) => rows[0]!.n
    )
  )
)

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

  it.scoped("a statement beyond the command timeout fails with 57014, and its connection lives on", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const pool = yield* PgPool.PgPool
      const error = yield* Effect.flip(sql`SELECT pg_sleep(30)`)
      expect(SqlState.of(error)).toBe("57014")
      expect(yield* sql`SELECT 1 AS one`).toEqual([{ one: 1 }])
      expect(yield* pool.stats).toMatchObject({ opened: 1, closed: 0 })
    }).pipe(Effect.provide(poolLayer({ commandTimeout: "100 millis" })))
  )

  it.scoped("a statement that gets no answer at all fails a second after the command timeout", () =>
    Effect.gen(function* () {
      const { host, port, url } = yield* EmbeddedPostgres.EmbeddedPostgres
      const relay = yield* TcpRelay.make({ target: { host, port } })
      const through = new URL(Redacted.value(url))
      through.host = `${relay.host}:${relay.port}`
      yield* Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        const pool = yield* PgPool.PgPool
        yield* sql`SELECT 1`
        yield* relay.blackhole
        const error = yield* Effect.flip(sql`SELECT 1`)
        expect(error).toBeInstanceOf(SqlError.SqlError)
        yield* relay.restore
        expect(yield* sql`SELECT 1 AS one`).toEqual([{ one: 1 }])
        expect(yield* eventually(pool.stats, (stats) => stats.closed === 1)).toMatchObject({ leased: 0 })
      }).pipe(
        Effect.provide(
          PgPool.layer({
            url: Redacted.make(through.toString()),
            minConnections: 0,
            maxConnections: 2,
            commandTimeout: "100 millis"
          })
        )
      )
    })
  )

  /** Statements on the server, other than this one, that run right now. */
  const running = (text: string) =>
    outside(
      Effect.flatMap(SqlClient.SqlClient, (sql) =>
        Effect.map(
          sql`SELECT 1 FROM pg_stat_activity WHERE query LIKE ${`${text}%`} AND state = 'active' AND pid <> pg_backend_pid()`,
          (rows) => rows.length
        )
      )
    )

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
      const sql = yield* SqlClient.SqlClient
      const connection = yield* sql.reserve
      const slow = yield* Effect.fork(connection.execute("SELECT pg_sleep(0.3), 'done' AS slow", [], undefined))
      yield* eventually(running("SELECT pg_sleep(0.3"), (n) => n === 1)
      const waiting = yield* Effect.fork(connection.execute("SELECT 1", [], undefined))
      yield* Effect.yieldNow()
      yield* Fiber.interrupt(waiting)
      expect(yield* Fiber.join(slow)).toMatchObject([{ slow: "done" }])
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

  it.scoped("asks an effect for the password at each connect", () =>
    Effect.gen(function* () {
      const { password, url } = yield* EmbeddedPostgres.EmbeddedPostgres
      const bare = new URL(Redacted.value(url))
      bare.password = ""
      let asked = 0
      const live = PgPool.layer({
        url: Redacted.make(bare.toString()),
        password: Effect.sync(() => {
          asked++
          return password
        }),
        minConnections: 0,
        maxConnections: 2,
        maxUses: 1
      })
      yield* Effect.provide(
        Effect.flatMap(SqlClient.SqlClient, (sql) => Effect.repeatN(sql`SELECT 1`, 2)),
        live
      )
      expect(asked).toBe(3)
      const failing = PgPool.layer({
        url: Redacted.make(bare.toString()),
        password: Effect.fail("the vault is sealed")
      })
      const error = yield* Effect.flip(Effect.scoped(Layer.build(failing)))
      expect(error).toMatchObject({ _tag: "SqlError", cause: "the vault is sealed" })
    })
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

  const failing = (config: (url: URL) => string) =>
    Effect.gen(function* () {
      const { url } = yield* EmbeddedPostgres.EmbeddedPostgres
      const changed = new URL(Redacted.value(url))
      const error = yield* Effect.flip(
        Effect.scoped(Layer.build(PgPool.layer({ url: Redacted.make(config(changed)), maxConnections: 1 })))
      )
      expect(error).toBeInstanceOf(SqlError.SqlError)
      expect(error.message).not.toContain(changed.password)
      return error.message
    })

  it.scoped("a wrong password is named at the start, without the password", () =>
    Effect.gen(function* () {
      const message = yield* failing((url) => {
        url.password = "wr0ng-secret"
        return url.toString()
      })
      expect(message).toMatch(/failed to connect to 127\.0\.0\.1:\d+, database "postgres", as user "postgres"/)
      expect(message).toMatch(/password authentication failed .*SQLSTATE 28P01/)
    })
  )

  it.scoped("a server that is down is named at the start", () =>
    Effect.gen(function* () {
      const message = yield* failing((url) => {
        url.port = "1"
        return url.toString()
      })
      expect(message).toMatch(/failed to connect to 127\.0\.0\.1:1, .*ECONNREFUSED/)
    })
  )

  it.scoped("a URL that is none is refused without quoting it", () =>
    Effect.gen(function* () {
      expect(yield* failing((url) => `postgres://user:${url.password}@:::/`)).toContain("postgres://user:password@")
    })
  )
})
