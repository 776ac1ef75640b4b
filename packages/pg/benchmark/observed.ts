/**
 * What observing costs: borrowing a connection and giving it back, without a statement, from a `PgPool`, which keeps all
 * of its metrics, and from a bare pool of the same connections. Read off as well: what one scrape costs.
 *
 * The variants take turns within a round; the ratio is taken within a round, and its median and range are printed.
 *
 *     npx tsc -b packages/pg/benchmark && node packages/pg/benchmark/dist/observed.js [rounds]
 */
import * as Users from "@checkpool/benchmark/Users"
import { EmbeddedPostgres } from "@checkpool/embedded"
import { PgConnection, PgPool } from "@checkpool/pg"
import { Pool, Recycler } from "@checkpool/pool"
import { Context, Effect, Layer, Metric } from "effect"

const rounds = Number(process.argv[2] ?? 21)
const connections = 10

type Use = (users: number) => Effect.Effect<unknown, unknown>

/** With one user, who never waits, the work is empty; otherwise it yields once, so that the others come to wait. */
const work = (users: number) => (users === 1 ? Effect.void : Effect.yieldNow())

const median = (values: ReadonlyArray<number>) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]!

const main = Effect.gen(function* () {
  const { url } = yield* EmbeddedPostgres.make({ parameters: { fsync: "off" } })
  const observed = Context.get(
    yield* Layer.build(
      PgPool.layer({ url, name: "observed", minConnections: connections, maxConnections: connections, start: "min" })
    ),
    PgPool.PgPool
  )
  const bare = yield* Pool.make({
    acquire: PgConnection.open({ url }),
    min: connections,
    max: connections,
    start: "min",
    check: (connection) => connection.ping,
    recycler: Recycler.resetWhen(
      (connection: PgConnection.PgConnection) => connection.dirty,
      (connection) => connection.reset
    )
  })
  const variants: ReadonlyArray<Use> = [
    (users) => bare.use(() => work(users)),
    (users) => observed.use(() => work(users))
  ]
  console.log("| | bare, ns | observed, ns | observed takes |\n| --- | --- | --- | --- |")
  for (const [users, times] of [
    [1, 20_000],
    [64, 300],
    [1000, 20]
  ] as const) {
    const samples: [Array<number>, Array<number>] = [[], []]
    for (let round = -3; round < rounds; round++) {
      for (const which of round % 2 === 0 ? ([0, 1] as const) : ([1, 0] as const)) {
        const nanos = yield* Effect.promise(() => Users.effects(users, times, variants[which]!(users)))
        if (round >= 0) samples[which].push(nanos)
      }
    }
    const ratios = samples[1].map((nanos, round) => nanos / samples[0][round]!)
    const range = `${Math.min(...ratios).toFixed(2)}–${Math.max(...ratios).toFixed(2)}`
    const who = users === 1 ? "1 user" : `${users} users, ${connections} connections`
    console.log(
      `| ${who} | ${median(samples[0]).toFixed(0)} | ${median(samples[1]).toFixed(0)} | ${median(ratios).toFixed(2)}× (${range}) |`
    )
  }
  const scrapes = Array.from({ length: 200 }, () => {
    const began = process.hrtime.bigint()
    Metric.unsafeSnapshot()
    return Number(process.hrtime.bigint() - began) / 1000
  })
  console.log(`\nOne reading of the registry: ${median(scrapes).toFixed(0)} µs`)
})

Effect.runPromise(Effect.scoped(main)).catch((error) => {
  console.error(error)
  process.exitCode = 1
})
