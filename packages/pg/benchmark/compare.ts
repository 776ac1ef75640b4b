/**
 * What a statement and a transaction cost through our `SqlClient`, beside sql-pg's and bare `pg`. All have ten
 * connections to one server. The variants take turns within a round; ratios are taken within a round, and their median
 * and range are printed.
 *
 *     npx tsc -b packages/pg/benchmark && node packages/pg/benchmark/dist/compare.js [rounds]
 */
import { EmbeddedPostgres, TcpRelay } from "@checkpool/embedded"
import { PgPool } from "@checkpool/pg"
import { SqlClient } from "@effect/sql"
import { PgClient } from "@effect/sql-pg"
import { Effect, Layer, Redacted } from "effect"
import * as Pg from "pg"

const rounds = Number(process.argv[2] ?? 9)
const connections = 10

/** One piece of work, in the terms of Effect and of `pg`. */
interface Work {
  readonly effect: (sql: SqlClient.SqlClient) => Effect.Effect<unknown, unknown>
  readonly promise: (pool: Pg.Pool, named: boolean) => Promise<unknown>
}

const query = (text: string, name: string) => ({
  statement: (sql: SqlClient.SqlClient) => sql.unsafe(text, [7]),
  config: (named: boolean): Pg.QueryConfig => ({ text, values: [7], ...(named ? { name } : {}) })
})

const plainQuery = query("SELECT id, name, amount FROM items WHERE id = $1", "plain")

const plannedQuery = query(
  `SELECT i.id, sum(b.amount) FROM items i JOIN items b ON b.parent = i.id JOIN items c ON c.parent = b.id
   LEFT JOIN items d ON d.parent = c.id AND d.name LIKE 'n%' WHERE i.id = $1 AND EXISTS (
   SELECT 1 FROM items e JOIN items f ON f.parent = e.id WHERE e.parent = c.id) GROUP BY i.id`,
  "planned"
)

const statement = ({ config, statement }: typeof plainQuery): Work => ({
  effect: statement,
  promise: (pool, named) => pool.query(config(named))
})

const transaction: Work = {
  effect: (sql) => sql.withTransaction(plainQuery.statement(sql)),
  promise: async (pool, named) => {
    const client = await pool.connect()
    await client.query("BEGIN")
    await client.query(plainQuery.config(named))
    await client.query("COMMIT")
    client.release()
  }
}

/** Does the work `times` times for each user; gives the microseconds for one time. */
type Variant = (work: Work, users: number, times: number) => Promise<number>

const timed = async (users: number, times: number, run: () => Promise<unknown>): Promise<number> => {
  const began = process.hrtime.bigint()
  await run()
  return Number(process.hrtime.bigint() - began) / 1000 / (users * times)
}

const client =
  (sql: SqlClient.SqlClient): Variant =>
  (work, users, times) => {
    const user = Effect.repeatN(work.effect(sql), times - 1)
    const all = Effect.forEach(Array.from({ length: users }), () => user, { concurrency: "unbounded", discard: true })
    return timed(users, times, () => Effect.runPromise(all))
  }

const driver =
  (pool: Pg.Pool, named: boolean): Variant =>
  (work, users, times) => {
    const user = async () => {
      for (let i = 0; i < times; i++) await work.promise(pool, named)
    }
    return timed(users, times, () => Promise.all(Array.from({ length: users }, user)))
  }

const variantsAt = (url: Redacted.Redacted) =>
  Effect.gen(function* () {
    const sqlOf = (layer: Layer.Layer<SqlClient.SqlClient, unknown>) =>
      Effect.flatMap(Layer.build(layer), (context) => Effect.provide(SqlClient.SqlClient, context))
    const size = { minConnections: connections, maxConnections: connections }
    const ours = yield* sqlOf(PgPool.layer({ ...size, url }))
    const unprepared = yield* sqlOf(PgPool.layer({ ...size, url, statementCacheSize: 0 }))
    const theirs = yield* sqlOf(PgClient.layer({ url, maxConnections: connections }))
    const pool = yield* Effect.acquireRelease(
      Effect.sync(() => new Pg.Pool({ connectionString: Redacted.value(url), max: connections })),
      (pool) => Effect.promise(() => pool.end())
    )
    return {
      checkpool: client(ours),
      "checkpool, nothing prepared": client(unprepared),
      "@effect/sql-pg": client(theirs),
      pg: driver(pool, false),
      "pg, prepared": driver(pool, true)
    } satisfies Record<string, Variant>
  })

const measure = (title: string, url: Redacted.Redacted, work: Work, users: number, times: number) =>
  Effect.gen(function* () {
    const variants = Object.entries(yield* variantsAt(url))
    const samples = new Map(variants.map(([name]) => [name, [] as Array<number>]))
    for (let round = -2; round < rounds; round++) {
      // Each starts a round as often as the others.
      const first = (round + 2) % variants.length
      for (const [name, run] of [...variants.slice(first), ...variants.slice(0, first)]) {
        const micros = yield* Effect.promise(() => run(work, users, times))
        if (round >= 0) samples.get(name)!.push(micros)
      }
    }
    yield* Effect.sync(() => print(`${title}, ${users === 1 ? "1 fiber" : `${users} fibers`}`, samples))
  }).pipe(Effect.scoped)

const median = (values: ReadonlyArray<number>) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]!

const print = (title: string, samples: ReadonlyMap<string, ReadonlyArray<number>>): void => {
  const ours = samples.get("checkpool")!
  console.log(`\n${title}\n`)
  console.log("| | µs, median | checkpool takes |")
  console.log("| --- | --- | --- |")
  for (const [name, values] of samples) {
    const ratios = ours.map((micros, round) => micros / values[round]!)
    const range = `${Math.min(...ratios).toFixed(2)}–${Math.max(...ratios).toFixed(2)}`
    console.log(`| ${name} | ${median(values).toFixed(0)} | ${median(ratios).toFixed(2)}× (${range}) |`)
  }
}

const main = Effect.gen(function* () {
  const server = yield* EmbeddedPostgres.make({ parameters: { fsync: "off" } })
  yield* Effect.provide(
    Effect.flatMap(
      SqlClient.SqlClient,
      (sql) => sql`CREATE TABLE items (id int PRIMARY KEY, parent int, name text, amount numeric);
        INSERT INTO items SELECT n, n / 3, 'name ' || n, n FROM generate_series(1, 10000) AS n;
        CREATE INDEX ON items (parent);
        ANALYZE items`
    ),
    PgClient.layer({ url: server.url, maxConnections: 1 })
  )
  const relay = yield* TcpRelay.make({ target: server, roundTrip: "10 millis" })
  const far = new URL(Redacted.value(server.url))
  far.port = `${relay.port}`
  const farAway = Redacted.make(far.href)

  const one = statement(plainQuery)
  yield* measure("A statement", server.url, one, 1, 1000)
  yield* measure("A statement", server.url, one, 16, 100)
  yield* measure("A statement", server.url, one, 64, 25)
  yield* measure("A statement that takes long to plan", server.url, statement(plannedQuery), 1, 150)
  yield* measure("A statement that takes long to plan", server.url, statement(plannedQuery), 16, 15)
  yield* measure("A transaction", server.url, transaction, 1, 400)
  yield* measure("A transaction", server.url, transaction, 16, 40)
  yield* measure("A transaction", server.url, transaction, 64, 10)
  yield* measure("10 ms away: a statement", farAway, one, 1, 20)
  yield* measure("10 ms away: a statement", farAway, one, 64, 10)
  yield* measure("10 ms away: a transaction", farAway, transaction, 1, 8)
})

Effect.runPromise(Effect.scoped(main)).catch((error) => {
  console.error(error)
  process.exitCode = 1
})
