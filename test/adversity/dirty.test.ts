import { type PgConnection, PgPool } from "@checkpool/pg"
import { SqlClient } from "@effect/sql"
import { expect, layer } from "@effect/vitest"
import { Effect, Fiber, Stream } from "effect"
import type pg from "pg"
import { eventually } from "./eventually.ts"
import { ordeal } from "./ordeal.ts"
import { ServerLive } from "./servers.ts"
import { socketOf } from "./watch.ts"

/** Everything that a session may carry over to its next borrower. */
const look = `
  SELECT pg_backend_pid() AS pid, session_user, current_user, current_setting('role') AS role,
    current_setting('search_path') AS search_path, current_setting('statement_timeout') AS statement_timeout,
    current_setting('application_name') AS application_name, current_setting('TimeZone') AS time_zone,
    current_setting('default_transaction_isolation') AS isolation, current_setting('work_mem') AS work_mem,
    current_setting('adversity.mine', true) AS mine, pg_current_xact_id_if_assigned() AS transaction,
    (SELECT count(*)::int FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'advisory') AS locks,
    (SELECT count(*)::int FROM pg_listening_channels()) AS channels,
    (SELECT count(*)::int FROM pg_class WHERE relnamespace = pg_my_temp_schema()) 
      + (SELECT count(*)::int FROM pg_proc WHERE pronamespace = pg_my_temp_schema()) AS temporary,
    (SELECT count(*)::int FROM pg_cursors WHERE is_holdable) AS cursors,
    (SELECT count(*)::int FROM pg_prepared_statements WHERE from_sql) AS prepared`

type Session = PgConnection.PgConnection
type Act = (sql: SqlClient.SqlClient, pool: PgPool.Service) => Effect.Effect<unknown, unknown>

/** On a borrowed connection, the way that text comes: by the simple protocol, several statements in one. */
const text =
  (...texts: ReadonlyArray<string>): Act =>
  (_, pool) =>
    pool.use((session) => Effect.forEach(texts, (text) => session.executeUnprepared(text, [], undefined)))

const onSession =
  (f: (session: Session) => Effect.Effect<unknown, unknown>): Act =>
  (_, pool) =>
    pool.use(f)

/** What the driver is given behind the pool's back. */
const raw =
  (f: (client: pg.Client) => Promise<unknown>): Act =>
  (_, pool) =>
    pool.use((session) => Effect.promise(() => f(session.client)))

const matrix: ReadonlyArray<readonly [string, Act]> = [
  ["an open transaction", text("BEGIN", "CREATE TABLE never (a int)")],
  ["a transaction begun and left in one text", text("BEGIN; SELECT 1")],
  [
    "a failed transaction",
    onSession((session) =>
      Effect.zipRight(
        session.executeUnprepared("BEGIN", [], undefined),
        Effect.ignore(session.executeUnprepared("SELECT 1 / 0", [], undefined))
      )
    )
  ],
  ["a chained transaction", text("BEGIN", "COMMIT AND CHAIN")],
  ["SET", (sql) => sql`SET work_mem = '1234kB'`],
  ["SET behind another statement", text("SELECT 1; SET work_mem = '1234kB'")],
  ["SET behind a text with two dashes", text("SELECT '--'; SET work_mem = '1234kB'")],
  ["SET behind a text that looks like a comment", text("SELECT '/*'; SET work_mem = '1234kB'; SELECT '*/'")],
  ["SET behind a comment", text("/* why */ -- and\nSET work_mem = '1234kB'")],
  ["SET SESSION", (sql) => sql`SET SESSION TIME ZONE 'Asia/Tokyo'`],
  [
    "SET SESSION CHARACTERISTICS",
    (sql) => sql`SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE`
  ],
  ["SET SESSION AUTHORIZATION", (sql) => sql`SET SESSION AUTHORIZATION somebody`],
  ["SET ROLE", (sql) => sql`SET ROLE somebody`],
  ["SET in a transaction that commits", (sql) => sql.withTransaction(sql`SET work_mem = '1234kB'`)],
  ["search_path", (sql) => sql`SET search_path TO elsewhere`],
  ["set_config", (sql) => sql`SELECT set_config('adversity.mine', 'yes', false)`],
  ["set_config by its full name", (sql) => sql`SELECT pg_catalog.set_config ('search_path', 'elsewhere', false)`],
  ["an update of pg_settings", (sql) => sql`UPDATE pg_settings SET setting = '1234' WHERE name = 'work_mem'`],
  ["a timeout of its own", (sql) => sql`SET statement_timeout = 1`],
  ["an advisory lock", (sql) => sql`SELECT pg_advisory_lock(42)`],
  ["a shared advisory lock", (sql) => sql`SELECT pg_try_advisory_lock_shared(1, 2)`],
  ["LISTEN", (sql) => sql`LISTEN to_whom`],
  ["a temporary table", (sql) => sql`CREATE TEMPORARY TABLE mine (a int)`],
  ["a temporary table by its schema", (sql) => sql`CREATE TABLE pg_temp.mine (a int)`],
  ["a temporary table by its quoted schema", (sql) => sql.unsafe(`CREATE TABLE "pg_temp".mine (a int)`)],
  ["a temporary table by SELECT INTO", (sql) => sql`SELECT 1 AS a INTO TEMP mine`],
  ["a temporary view", (sql) => sql`CREATE OR REPLACE TEMP VIEW mine AS SELECT 1`],
  ["a temporary function", (sql) => sql`CREATE FUNCTION pg_temp.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'`],
  ["a cursor WITH HOLD", (sql) => sql`DECLARE mine CURSOR WITH HOLD FOR SELECT 1`],
  ["PREPARE", (sql) => sql`PREPARE mine AS SELECT 1`],
  ["DO", (sql) => sql`DO $$ BEGIN PERFORM set_config('adversity.mine', 'yes', false); END $$`],
  ["DISCARD", (sql) => sql`DISCARD ALL`],
  ["BEGIN in a stream", (sql) => Stream.runDrain(sql`BEGIN`.stream)],
  ["SET in a stream", (sql) => Stream.runDrain(sql`SET work_mem = '1234kB'`.stream)],
  [
    "a stream that is left in a transaction",
    (sql) =>
      sql.withTransaction(
        Stream.runDrain(
          Stream.take(sql`SELECT set_config('adversity.mine', 'yes', false) FROM generate_series(1, 9999)`.stream, 1)
        )
      )
  ],
  ["COPY without a source", (sql) => Effect.flip(sql`COPY copied FROM STDIN`)],
  ["COPY without a source in a transaction", (sql) => Effect.flip(sql.withTransaction(sql`COPY copied FROM STDIN`))],
  ["COPY that nobody reads", (sql) => sql`COPY (SELECT generate_series(1, 10000)) TO STDOUT`],
  ["SET on the driver's client", raw((client) => client.query("SET work_mem = '1234kB'"))],
  ["BEGIN on the driver's client", raw((client) => client.query("BEGIN"))],
  [
    "an interrupted SET",
    (sql) =>
      Effect.gen(function* () {
        const fiber = yield* Effect.fork(sql`SELECT set_config('adversity.mine', 'yes', false), pg_sleep(0.05)`)
        yield* Effect.yieldNow()
        yield* Fiber.interrupt(fiber)
      })
  ]
]

layer(ServerLive, { excludeTestServices: true, timeout: "60 seconds" })("a session that was left dirty", (it) => {
  it.effect("is clean for its next borrower, whatever was done to it, and is the same one", () =>
    ordeal(
      "dirty sessions",
      { maxConnections: 1, onConnect: (session) => session.executeUnprepared("SET TimeZone = 'UTC'", [], undefined) },
      (watch) =>
        Effect.gen(function* () {
          const pool = yield* PgPool.PgPool
          const sql = yield* SqlClient.SqlClient
          yield* watch.outside.query("CREATE ROLE somebody")
          yield* watch.outside.query("CREATE SCHEMA elsewhere")
          yield* watch.outside.query("CREATE TABLE copied (a int)")
          const looked = Effect.map(
            pool.use((session) => session.execute(look, [], undefined)),
            (rows) => rows[0]!
          )
          let clean = yield* looked
          expect(clean).toMatchObject({ time_zone: "UTC", transaction: null, mine: null, locks: 0, prepared: 0 })
          const dirty: Array<string> = []
          for (const [how, act] of matrix) {
            yield* act(sql, pool)
            // A setting that has been reset is empty afterwards, which is as good as unset.
            const now = yield* Effect.map(looked, (row) => ({ ...row, mine: Reflect.get(row, "mine") || null }))
            try {
              expect(now).toEqual(clean)
            } catch {
              dirty.push(`${how}: ${JSON.stringify(now)}`)
              yield* pool.expire
              clean = yield* looked
            }
          }
          expect(dirty).toEqual([])
          yield* watch.report({ cases: matrix.length, opened: (yield* pool.stats).opened })
        })
    )
  )

  it.effect("in the middle of a COPY that nobody ends is closed, and not lent", () =>
    ordeal("COPY", { maxConnections: 1 }, (watch) =>
      Effect.gen(function* () {
        const pool = yield* PgPool.PgPool
        const sql = yield* SqlClient.SqlClient
        yield* Effect.scoped(
          Effect.gen(function* () {
            const session = yield* pool.get
            // As pg-copy-streams does it: a query of the driver's own kind.
            const copy = {
              callback: () => {},
              submit: (connection: { query: (text: string) => void }) => connection.query("COPY copied FROM STDIN"),
              handleCopyInResponse() {},
              handleError() {
                copy.callback()
              }
            }
            session.client.query(copy as unknown as pg.Submittable)
            yield* eventually(watch.outside.running("COPY copied"), (n) => n === 1)
          })
        )
        expect(yield* sql`SELECT 1 AS one`).toEqual([{ one: 1 }])
        expect(yield* pool.stats).toMatchObject({ opened: 2 })
        expect(watch.closed()).toEqual(["resetFailed"])
      })
    )
  )

  it.effect("costs one round trip if it was dirty, and nothing if it was clean", () =>
    ordeal("clean sessions", { maxConnections: 1 }, (watch) =>
      Effect.gen(function* () {
        const pool = yield* PgPool.PgPool
        const sql = yield* SqlClient.SqlClient
        yield* sql`SELECT 1`
        const socket = watch.sockets[0]!
        let sent = 0
        const write = socket.write
        socket.write = ((...args: Parameters<typeof write>) => {
          sent++
          return write.apply(socket, args)
        }) as typeof write
        /** Packets that it takes to run this and to be ready for the next one. */
        const packets = (effect: Effect.Effect<unknown, unknown>) =>
          Effect.gen(function* () {
            const before = sent
            yield* effect
            yield* eventually(pool.stats, (stats) => stats.idle === 1)
            return sent - before
          })
        const statement = yield* packets(sql`SELECT 1`)
        expect(yield* packets(pool.use(() => Effect.void))).toBe(0)
        expect(yield* packets(sql.withTransaction(Effect.void))).toBe(2)
        expect(yield* packets(Effect.flip(sql.withTransaction(sql`SELECT 1 / 0`)))).toBeGreaterThan(2)
        for (let i = 0; i < 100; i++) expect(yield* packets(sql`SELECT 1`)).toBe(statement)
        yield* sql`SET work_mem = '1234kB'`
        yield* eventually(pool.stats, (stats) => stats.idle === 1)
        expect(yield* packets(pool.use(() => Effect.void))).toBe(0)
        const simple = yield* packets(pool.use((session) => session.executeCommand("SELECT 1")))
        const dirty = yield* packets(pool.use((session) => session.executeCommand("SET work_mem = '1234kB'")))
        expect(dirty).toBe(2 * simple)
        expect(socketOf(yield* Effect.scoped(pool.get))).toBe(socket)
        yield* watch.report({ extraWhenClean: 0, extraWhenDirty: dirty - simple })
      })
    )
  )
})
