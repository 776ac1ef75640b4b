/**
 * What a statement and a transaction cost through our `SqlClient`, beside sql-pg's and bare `pg`. All have ten
 * connections to one server. The variants take turns within a round; ratios are taken within a round, and their median
 * and range are printed. Below 1 is faster; a difference under 15 % is a tie.
 *
 *     npx tsc -b packages/pg/benchmark && node packages/pg/benchmark/dist/compare.js [rounds] [part of a title]
 */
import * as Users from "@checkpool/benchmark/Users"
import { EmbeddedPostgres, TcpRelay } from "@checkpool/embedded"
import { PgPool } from "@checkpool/pg"
import { SqlClient } from "@effect/sql"
import { PgClient } from "@effect/sql-pg"
import { Effect, Layer, Redacted } from "effect"
import * as Pg from "pg"

const rounds = Number(process.argv[2] ?? 9)
const filter = process.argv[3] ?? ""
const connections = 10

const peers = ["@effect/sql-pg", "pg", "pg, prepared"]
const names = ["checkpool", "checkpool, nothing prepared", ...peers]

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

const client =
  (sql: SqlClient.SqlClient): Variant =>
  async (work, users, times) =>
    (await Users.effects(users, times, work.effect(sql))) / 1000

const driver =
  (pool: Pg.Pool, named: boolean): Variant =>
  async (work, users, times) =>
    (await Users.promises(users, times, () => work.promise(pool, named))) / 1000

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

/** What is measured: the work, where, by how many fibers, and how often each of them does it in one go. */
interface Workload {
  readonly title: string
  readonly work: Work
  readonly far?: boolean
  readonly users: number
  readonly times: number
}

const one = statement(plainQuery)
const planned = statement(plannedQuery)

const workloads: ReadonlyArray<Workload> = [
  { title: "a statement, 1 fiber", work: one, users: 1, times: 1000 },
  { title: "a statement, 16 fibers", work: one, users: 16, times: 100 },
  { title: "a statement, 64 fibers", work: one, users: 64, times: 25 },
  { title: "a statement that takes long to plan, 1 fiber", work: planned, users: 1, times: 150 },
  { title: "a statement that takes long to plan, 16 fibers", work: planned, users: 16, times: 15 },
  { title: "a transaction, 1 fiber", work: transaction, users: 1, times: 400 },
  { title: "a transaction, 16 fibers", work: transaction, users: 16, times: 40 },
  { title: "a transaction, 64 fibers", work: transaction, users: 64, times: 10 },
  { title: "10 ms away: a statement, 1 fiber", work: one, far: true, users: 1, times: 20 },
  { title: "10 ms away: a statement, 64 fibers", work: one, far: true, users: 64, times: 10 },
  { title: "10 ms away: a transaction, 1 fiber", work: transaction, far: true, users: 1, times: 8 }
]

type Variants = Readonly<Record<string, Variant>>

/** Microseconds for each round, by variant. */
const measure = ({ times, users, work }: Workload, variants: Variants) =>
  Effect.promise(async () => {
    const named = Object.entries(variants)
    const samples = new Map(named.map(([name]) => [name, [] as Array<number>]))
    for (let round = -2; round < rounds; round++) {
      // Each starts a round as often as the others.
      const first = (round + 2) % named.length
      for (const [name, run] of [...named.slice(first), ...named.slice(0, first)]) {
        const micros = await run(work, users, times)
        if (round >= 0) samples.get(name)!.push(micros)
      }
    }
    return samples
  })

const median = (values: ReadonlyArray<number>) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]!

const micros = (values: ReadonlyArray<number>) => median(values).toFixed(0)

/** The median of the ratios within each round, and their range. */
const ratio = (ours: ReadonlyArray<number>, theirs: ReadonlyArray<number>): string => {
  const ratios = ours.map((micros, round) => micros / theirs[round]!)
  const range = `${Math.min(...ratios).toFixed(2)}–${Math.max(...ratios).toFixed(2)}`
  return `${median(ratios).toFixed(2)} (${range})`
}

const row = (cells: ReadonlyArray<string>) => console.log(`| ${cells.join(" | ")} |`)

const header = () => {
  row(["", ...names.map((name) => `${name}, µs`), ...peers.map((name) => `checkpool ÷ ${name}`)])
  row(["---", ...names.map(() => "--:"), ...peers.map(() => "--:")])
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

  header()
  for (const workload of workloads.filter(({ title }) => title.includes(filter))) {
    const url = workload.far === true ? Redacted.make(far.href) : server.url
    const samples = yield* Effect.scoped(Effect.flatMap(variantsAt(url), (variants) => measure(workload, variants)))
    const of = (name: string) => samples.get(name)!
    row([
      workload.title,
      ...names.map((name) => micros(of(name))),
      ...peers.map((name) => ratio(of("checkpool"), of(name)))
    ])
  }
})

Effect.runPromise(Effect.scoped(main)).catch((error) => {
  console.error(error)
  process.exitCode = 1
})
