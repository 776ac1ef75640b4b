import { EmbeddedPostgres } from "@checkpool/embedded"
import { PgClient } from "@effect/sql-pg"
import { Effect, Layer, Redacted } from "effect"

/** One server for each test file that imports this; give it to `it.layer` with every layer that needs it. */
export const memoMap = Effect.runSync(Layer.makeMemoMap)

export const Server = EmbeddedPostgres.layer()

/** Stock sql-pg: the checkpointer must not need our pool. */
export const stock = (config: Omit<PgClient.PgClientConfig, "url"> = {}) =>
  Layer.unwrapEffect(
    Effect.map(EmbeddedPostgres.EmbeddedPostgres, ({ url }) =>
      PgClient.layer({ ...config, url: inDatabase(url, config.database) })
    )
  ).pipe(Layer.provide(Server))

const inDatabase = (url: Redacted.Redacted, database: string | undefined) => {
  const target = new URL(Redacted.value(url))
  if (database !== undefined) target.pathname = database
  return Redacted.make(target.href)
}
