import { EmbeddedPostgres } from "@checkpool/embedded"
import { PgPool } from "@checkpool/pg"
import { SqlClient } from "@effect/sql"
import { PgClient } from "@effect/sql-pg"
import { afterAll, beforeAll } from "@effect/vitest"
import { Effect, Exit, Layer, Redacted, Scope } from "effect"

/** One server for each test file that imports this, if it is given wherever a layer is built. */
export const memoMap = Effect.runSync(Layer.makeMemoMap)

// Nothing here crashes the server, so it need not wait for the disk.
export const Server = EmbeddedPostgres.layer({ parameters: { fsync: "off" } })

// Held for the whole file: between two suites nobody else does.
const file = Effect.runSync(Scope.make())
beforeAll(() => Effect.runPromise(Layer.buildWithMemoMap(Server, memoMap, file)))
afterAll(() => Effect.runPromise(Scope.close(file, Exit.void)))

/** Builds a layer in the test's scope; `Layer.build` would start another server. */
export const open = <A, E, R>(layer: Layer.Layer<A, E, R>) =>
  Effect.flatMap(Effect.scope, (scope) => Layer.buildWithMemoMap(layer, memoMap, scope))

export interface Target extends Omit<PgClient.PgClientConfig, "url" | "password"> {
  readonly password?: string
  /** Settings of each session, by the names of `postgresql.conf`. */
  readonly settings?: Readonly<Record<string, string>>
}

/** Stock sql-pg: the checkpointer must not need our pool. */
export const stock = (target: Target = {}) =>
  Layer.unwrapEffect(
    Effect.map(EmbeddedPostgres.EmbeddedPostgres, ({ url }) => {
      const { database, password, settings, username, ...config } = target
      const address = new URL(Redacted.value(url))
      if (database !== undefined) address.pathname = database
      if (username !== undefined) address.username = username
      if (password !== undefined) address.password = password
      const options = Object.entries(settings ?? {}).map(([name, value]) => `-c ${name}=${value}`)
      if (options.length > 0) address.searchParams.set("options", options.join(" "))
      return PgClient.layer({ ...config, url: Redacted.make(address.href) })
    })
  ).pipe(Layer.provide(Server))

/** A database of that name whose collation is linguistic, as on most servers: its order is not that of code points. */
export const linguistic = (name: string) =>
  Layer.unwrapEffect(
    Effect.flatMap(SqlClient.SqlClient, (sql) =>
      Effect.as(
        sql`CREATE DATABASE ${sql(name)} TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'en-US'`,
        stock({ database: name })
      )
    )
  ).pipe(Layer.provide(stock()))

/** Our own pool. */
export const pool = Layer.unwrapEffect(
  Effect.map(EmbeddedPostgres.EmbeddedPostgres, ({ url }) => PgPool.layer({ url }))
).pipe(Layer.provide(Server))
