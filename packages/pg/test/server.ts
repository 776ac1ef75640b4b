import { EmbeddedPostgres } from "@checkpool/embedded"
import type { PgPoolConfig } from "@checkpool/pg"
import { PgPool } from "@checkpool/pg"
import { SqlClient } from "@effect/sql"
import { PgClient } from "@effect/sql-pg"
import { Effect, Layer, Redacted } from "effect"

/** One server for a file of tests. */
export const ServerLive = EmbeddedPostgres.layer({ parameters: { fsync: "off" } })

/** A pool on that server. */
export const poolLayer = (config: Omit<PgPoolConfig.PgPoolConfig, "url"> = {}) =>
  Layer.unwrapEffect(
    Effect.map(EmbeddedPostgres.EmbeddedPostgres, ({ url }) =>
      PgPool.layer({ minConnections: 0, maxConnections: 5, ...config, url })
    )
  )

/** The server's URL, by way of another address: a relay's, a pooler's. */
export const through = (url: Redacted.Redacted, way: { readonly host: string; readonly port: number }) => {
  const changed = new URL(Redacted.value(url))
  changed.host = `${way.host}:${way.port}`
  return Redacted.make(changed.toString())
}

/** A client of its own, for looking at the server from outside of the pool. */
export const outside = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.flatMap(EmbeddedPostgres.EmbeddedPostgres, ({ url }) =>
    Effect.provide(effect, PgClient.layer({ url, maxConnections: 1, applicationName: "outside" }))
  )

const counted = (f: (sql: SqlClient.SqlClient) => Effect.Effect<ReadonlyArray<unknown>, unknown>) =>
  outside(Effect.map(Effect.flatMap(SqlClient.SqlClient, f), (rows) => rows.length))

/** The server's own count of the pool's connections. */
export const backends = counted((sql) => sql`SELECT 1 FROM pg_stat_activity WHERE application_name = '@checkpool/pg'`)

/** Statements on the server that begin like this and run right now. */
export const running = (text: string) =>
  counted(
    (sql) => sql`SELECT 1 FROM pg_stat_activity
      WHERE starts_with(query, ${text}) AND state = 'active' AND pid <> pg_backend_pid()`
  )
