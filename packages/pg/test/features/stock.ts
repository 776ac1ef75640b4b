import { EmbeddedPostgres } from "@checkpool/embedded"
import { Reactivity } from "@effect/experimental"
import type { SqlClient } from "@effect/sql"
import { PgClient } from "@effect/sql-pg"
import { expect } from "@effect/vitest"
import type { Scope } from "effect"
import { Effect, Layer } from "effect"
import { outside, poolLayer } from "../server.ts"

/** What an app gives to either layer. */
export type Config = Omit<PgClient.PgClientConfig, "url">

/** What a program may ask of both layers. */
type Given = PgClient.PgClient | SqlClient.SqlClient | Reactivity.Reactivity | Scope.Scope

/** The layer of sql-pg that ours takes the place of. */
export const stockLayer = (config: Config = {}) =>
  Layer.unwrapEffect(
    Effect.map(EmbeddedPostgres.EmbeddedPostgres, ({ url }) => PgClient.layer({ maxConnections: 5, ...config, url }))
  )

const emptyDatabase = outside(
  Effect.flatMap(PgClient.PgClient, (sql) => sql`DROP SCHEMA public CASCADE; CREATE SCHEMA public`)
)

/**
 * Runs a program on sql-pg's layer and then on ours, each time on an empty database, and demands the same of both.
 */
export const sameOnBoth = <A, E>(program: Effect.Effect<A, E, Given>, config?: Config) =>
  Effect.gen(function* () {
    const theirs = yield* onStock(program, config)
    const ours = yield* onOurs(program, config)
    expect(ours).toEqual(theirs)
    return ours
  })

/** On an empty database and our layer. */
export const onOurs = <A, E, R>(program: Effect.Effect<A, E, R>, config?: Config) =>
  Effect.zipRight(emptyDatabase, Effect.provide(Effect.scoped(program), withReactivity(poolLayer(config))))

const onStock = <A, E>(program: Effect.Effect<A, E, Given>, config?: Config) =>
  Effect.zipRight(emptyDatabase, Effect.provide(Effect.scoped(program), withReactivity(stockLayer(config))))

/** The one that the client itself has: layers are made once where they are provided together. */
const withReactivity = <A, E, R>(client: Layer.Layer<A, E, R>) => Layer.merge(client, Reactivity.layer)
