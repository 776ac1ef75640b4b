import { EmbeddedPostgres } from "@checkpool/embedded"
import type { PgPoolConfig } from "@checkpool/pg"
import { PgPool } from "@checkpool/pg"
import { PgClient } from "@effect/sql-pg"
import { Effect, Layer } from "effect"

/** One server for a file of tests. */
export const ServerLive = EmbeddedPostgres.layer({ parameters: { fsync: "off" } })

/** A pool on that server. */
export const poolLayer = (config: Omit<PgPoolConfig.PgPoolConfig, "url"> = {}) =>
  Layer.unwrapEffect(
    Effect.map(EmbeddedPostgres.EmbeddedPostgres, ({ url }) =>
      PgPool.layer({ minConnections: 0, maxConnections: 5, ...config, url })
    )
  )

/** A client of its own, for looking at the server from outside of the pool. */
export const outside = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.flatMap(EmbeddedPostgres.EmbeddedPostgres, ({ url }) =>
    Effect.provide(effect, PgClient.layer({ url, maxConnections: 1, applicationName: "outside" }))
  )
