import { EmbeddedPostgres, TcpRelay } from "@checkpool/embedded"
import { PgPool } from "@checkpool/pg"
import { SqlClient } from "@effect/sql"
import { expect } from "@effect/vitest"
import { Effect } from "effect"
import { eventually } from "./eventually.ts"
import { type Config, ordeal, through } from "./ordeal.ts"
import type { Watch } from "./watch.ts"

/** An ordeal of a pool that reaches its server through a relay. */
export const onRelay = <A, E, R>(
  name: string,
  config: Config,
  body: (watch: Watch, relay: TcpRelay.TcpRelay) => Effect.Effect<A, E, R>
) =>
  Effect.gen(function* () {
    const { host, port, url } = yield* EmbeddedPostgres.EmbeddedPostgres
    const relay = yield* TcpRelay.make({ target: { host, port } })
    yield* ordeal(name, { url: through(url, relay), ...config }, (watch) => body(watch, relay))
  })

/** Borrows `n` connections at once and gives them back, so that as many are idle. */
export const warm = (n: number) =>
  Effect.gen(function* () {
    const pool = yield* PgPool.PgPool
    yield* Effect.scoped(Effect.replicateEffect(pool.get, n))
    yield* eventually(pool.stats, (stats) => stats.idle >= n)
  })

/** A caller is served, at the first try. */
export const answers = Effect.gen(function* () {
  const sql = yield* SqlClient.SqlClient
  expect(yield* sql`SELECT 1 AS one`).toEqual([{ one: 1 }])
})

/** A caller is served, at whatever try. */
export const answersAgain = Effect.gen(function* () {
  const sql = yield* SqlClient.SqlClient
  yield* eventually(Effect.option(sql`SELECT 1`), (answer) => answer._tag === "Some")
})
