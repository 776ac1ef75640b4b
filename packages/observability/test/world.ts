import { EmbeddedPostgres } from "@checkpool/embedded"
import { ObservabilityServer } from "@checkpool/observability"
import type { PgPoolConfig } from "@checkpool/pg"
import { PgPool } from "@checkpool/pg"
import { Effect, Layer } from "effect"

/** One server for a file of tests. */
export const ServerLive = EmbeddedPostgres.layer({ parameters: { fsync: "off" } })

/** A pool on that server, and what there is to see of it on a port that is free. */
export const observedLayer = (
  config: Omit<PgPoolConfig.PgPoolConfig, "url"> = {},
  options: ObservabilityServer.Options = {}
) =>
  ObservabilityServer.layer({ port: 0, ...options }).pipe(
    Layer.provideMerge(
      Layer.unwrapEffect(
        Effect.map(EmbeddedPostgres.EmbeddedPostgres, ({ url }) =>
          PgPool.layer({ minConnections: 1, maxConnections: 4, ...config, url })
        )
      )
    )
  )
