import { type PgConnection, PgPool, SqlState } from "@checkpool/pg"
import { SqlClient } from "@effect/sql"
import { expect, layer } from "@effect/vitest"
import { Effect } from "effect"
import { eventually } from "./eventually.ts"
import { answers } from "./onRelay.ts"
import { ordeal } from "./ordeal.ts"
import { ServerLive } from "./servers.ts"
import { socketOf, type Watch } from "./watch.ts"

type Act = (sql: SqlClient.SqlClient, watch: Watch) => Effect.Effect<unknown, unknown>
type Case = readonly [sqlState: string, what: string, act: Act]

/** In a transaction, after something else. */
const after =
  (first: Act, second: Act): Act =>
  (sql, watch) =>
    sql.withTransaction(Effect.zipRight(Effect.ignore(first(sql, watch)), second(sql, watch)))

const raise =
  (sqlState: string): Act =>
  (sql) =>
    sql.unsafe(`DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '${sqlState}'; END $$`)

const one: Act = (sql) => sql`SELECT 1`
const forLong: Act = (sql) => sql`SELECT pg_sleep(10)`
const fails: Act = (sql) => sql`SELECT 1 / 0`

/** The session is as good as before. */
const kept: ReadonlyArray<Case> = [
  ["23505", "a key that is there already", (sql) => sql`INSERT INTO keys VALUES (1), (1)`],
  ["42601", "a syntax error", (sql) => sql`SELEKT 1`],
  ["42P01", "a table that there is not", (sql) => sql`SELECT * FROM nowhere`],
  ["22012", "a division by zero", fails],
  ["25P02", "a statement in a failed transaction", after(fails, one)],
  [
    "25006",
    "a write where reading was asked for",
    after(
      (sql) => sql`SET TRANSACTION READ ONLY`,
      (sql) => sql`INSERT INTO keys VALUES (2)`
    )
  ],
  ["57014", "a cancelled statement", (sql) => sql`SELECT pg_cancel_backend(pg_backend_pid()), pg_sleep(10)`],
  ["57014", "a statement beyond the command timeout", forLong],
  ["55P03", "a lock that is taken", raise("55P03")],
  ["40001", "a serialization failure", raise("40001")],
  ["40P01", "a deadlock", raise("40P01")],
  ["XX000", "an extension's internal error", raise("XX000")],
  ["P0001", "an error of a function of one's own", raise("P0001")]
]

/** The session is gone. */
const evicted: ReadonlyArray<Case> = [
  ["57P01", "an administrator ends it", (sql) => sql`SELECT pg_terminate_backend(pg_backend_pid()), pg_sleep(10)`],
  [
    "25P03",
    "it idles in a transaction for too long",
    after(
      (sql) => sql`SET LOCAL idle_in_transaction_session_timeout = 20`,
      (sql, { outside }) =>
        Effect.zipRight(
          eventually(outside.backends, (n) => n === 0),
          sql`SELECT 1`
        )
    )
  ],
  ["25P04", "its transaction takes too long", after((sql) => sql`SET LOCAL transaction_timeout = 50`, forLong)],
  [
    "08P01",
    "the protocol is out of step",
    (sql) =>
      Effect.scoped(
        Effect.flatMap(sql.reserve, (connection) => {
          const socket = socketOf(connection as PgConnection.PgConnection)
          return Effect.zipRight(
            Effect.sync(() => socket.write("????????")),
            connection.execute("SELECT pg_sleep(10)", [], undefined)
          )
        })
      )
  ]
]

layer(ServerLive, { excludeTestServices: true, timeout: "60 seconds" })("an error", (it) => {
  /** Runs one after the other on a pool of one connection; tells the codes, and the connections that each has cost. */
  const run = (name: string, cases: ReadonlyArray<Case>, cost: number) =>
    ordeal(name, { maxConnections: 1, commandTimeout: "500 millis" }, (watch) =>
      Effect.gen(function* () {
        const pool = yield* PgPool.PgPool
        const sql = yield* SqlClient.SqlClient
        yield* sql`CREATE TABLE IF NOT EXISTS keys (id int PRIMARY KEY)`
        const found: Array<unknown> = []
        for (const [, what, act] of cases) {
          const { opened } = yield* pool.stats
          const error = yield* Effect.flip(act(sql, watch))
          // The next one never notices.
          yield* answers
          const stats = yield* pool.stats
          found.push([SqlState.of(error), what, stats.opened - opened])
        }
        expect(found).toEqual(cases.map(([sqlState, what]) => [sqlState, what, cost]))
        yield* watch.report({ failures: cases.length })
      })
    )

  it.effect("of a statement costs no connection", () => run("errors of statements", kept, 0))

  it.effect("that ends a session costs that connection, and no other statement", () =>
    run("errors that end sessions", evicted, 1)
  )
})
