import { Socket } from "node:net"
import { EmbeddedPostgres } from "@checkpool/embedded"
import { PgPool } from "@checkpool/pg"
import { PgClient } from "@effect/sql-pg"
import { expect, layer } from "@effect/vitest"
import { Config, ConfigProvider, Effect, Layer, Redacted } from "effect"
import * as Pg from "pg"
import { poolLayer, ServerLive } from "../server.ts"
import { sameOnBoth } from "./stock.ts"

/** Who and where a client is, by its own account and by the server's. */
const whereabouts = Effect.gen(function* () {
  const sql = yield* PgClient.PgClient
  const { applicationName, database, host, password, port, username } = sql.config
  return {
    config: { applicationName, database, host, port, username, password: password && Redacted.value(password) },
    server: yield* sql`SELECT current_user AS username, current_database() AS database, inet_server_port() AS port,
      current_setting('application_name') AS application`
  }
})

/** The same options for sql-pg's layer and for ours. */
const both = (options: (server: EmbeddedPostgres.Service) => PgClient.PgClientConfig) =>
  Effect.gen(function* () {
    const config = {
      applicationName: "config test",
      maxConnections: 1,
      ...options(yield* EmbeddedPostgres.EmbeddedPostgres)
    }
    const theirs = yield* Effect.provide(whereabouts, PgClient.layer(config))
    const ours = yield* Effect.provide(whereabouts, PgPool.layer({ ...config, minConnections: 0 }))
    expect(ours).toEqual(theirs)
    return ours
  })

const without = (url: Redacted.Redacted, change: (url: URL) => void) => {
  const changed = new URL(Redacted.value(url))
  change(changed)
  return Redacted.make(changed.href)
}

layer(ServerLive, { excludeTestServices: true, timeout: "60 seconds" })("options of sql-pg", (it) => {
  it.effect("url alone, and single options alone", () =>
    Effect.gen(function* () {
      const byUrl = yield* both(({ url }) => ({ url }))
      const byOptions = yield* both(({ database, host, password, port, username }) => ({
        database,
        host,
        password,
        port,
        username
      }))
      expect(byOptions).toEqual(byUrl)
      expect(byUrl.server).toMatchObject([{ username: "postgres", application: "config test" }])
    })
  )

  // sql-pg takes a password that the URL leaves out for none, and fails to connect.
  it.effect("url with single options for what it leaves out", () =>
    Effect.gen(function* () {
      const { password, url } = yield* EmbeddedPostgres.EmbeddedPostgres
      const bare = without(url, (url) => {
        url.password = ""
      })
      const { config, server } = yield* Effect.provide(whereabouts, PgPool.layer({ password, url: bare }))
      expect(server).toMatchObject([{ username: "postgres" }])
      expect(config.password).toBe(Redacted.value(password))
    })
  )

  // sql-pg connects to what the URL says, while its `config` names what the options say: a dump of the schema after
  // migrations, which goes by `config`, would be another database's.
  it.effect("what the URL says wins over single options, in the client's config too", () =>
    Effect.gen(function* () {
      const { password, port, url } = yield* EmbeddedPostgres.EmbeddedPostgres
      const wrong = {
        username: "nobody",
        password: Redacted.make("wrong"),
        database: "nowhere",
        host: "nohost",
        port: 1
      }
      const { config, server } = yield* Effect.provide(whereabouts, PgPool.layer({ ...wrong, url }))
      expect(server).toMatchObject([{ username: "postgres", database: "postgres", port }])
      expect(config).toMatchObject({ username: "postgres", database: "postgres", host: "127.0.0.1", port })
      expect(config.password).toBe(Redacted.value(password))
    })
  )

  it.effect("layerConfig reads them from the configuration", () =>
    Effect.gen(function* () {
      const { url } = yield* EmbeddedPostgres.EmbeddedPostgres
      const provider = ConfigProvider.fromMap(
        new Map([
          ["DATABASE_URL", Redacted.value(url)],
          ["MAX", "2"]
        ])
      )
      const config = {
        url: Config.redacted("DATABASE_URL"),
        maxConnections: Config.integer("MAX"),
        applicationName: Config.succeed("from config")
      }
      const seen = (layer: Layer.Layer<PgClient.PgClient, unknown>) =>
        Effect.provide(whereabouts, layer.pipe(Layer.provide(Layer.setConfigProvider(provider))))
      const ours = yield* seen(PgPool.layerConfig({ ...config, minConnections: Config.succeed(0) }))
      expect(ours).toEqual(yield* seen(PgClient.layerConfig(config)))
      expect(ours.server).toMatchObject([{ application: "from config" }])
    })
  )

  it.effect("types: parsers of one's own, for prepared statements and streams too", () =>
    Effect.gen(function* () {
      const types: Pg.CustomTypesConfig = {
        getTypeParser: (id: number, format?: "text" | "binary") =>
          id === Pg.types.builtins.INT8 ? (text: string) => BigInt(text) : Pg.types.getTypeParser(id, format as "text")
      }
      const rows = yield* sameOnBoth(
        Effect.gen(function* () {
          const sql = yield* PgClient.PgClient
          const statement = sql`SELECT ${1}::int8 AS big, now() - now() = interval '0' AS same`
          return [yield* statement, yield* statement, yield* statement.values, yield* statement.unprepared]
        }),
        { types }
      )
      expect(rows[0]).toEqual([{ big: 1n, same: true }])
      expect(rows[1]).toEqual([{ big: 1n, same: true }])
    })
  )

  it.effect("stream: sockets of one's own", () =>
    Effect.gen(function* () {
      let made = 0
      const stream = () => {
        made++
        return new Socket()
      }
      const count = Effect.flatMap(PgClient.PgClient, (sql) => sql`SELECT 1 AS one`)
      expect(yield* Effect.provide(count, poolLayer({ stream, maxConnections: 1 }))).toEqual([{ one: 1 }])
      expect(made).toBe(1)
    })
  )

  it.effect("json makes a parameter of any value", () =>
    Effect.gen(function* () {
      const rows = yield* sameOnBoth(
        Effect.flatMap(
          PgClient.PgClient,
          (sql) => sql`SELECT ${sql.json({ a: [1, "x", null] })}::jsonb AS object, ${sql.json({})}::json AS empty`
        )
      )
      expect(rows).toEqual([{ object: { a: [1, "x", null] }, empty: {} }])
    })
  )

  it.effect("durations of connections: connectTimeout, idleTimeout, connectionTTL", () =>
    Effect.gen(function* () {
      const rows = yield* sameOnBoth(
        Effect.flatMap(PgClient.PgClient, (sql) => sql`SELECT 1 AS one`),
        { connectTimeout: "20 seconds", idleTimeout: "1 second", connectionTTL: "1 hour", minConnections: 1 }
      )
      expect(rows).toEqual([{ one: 1 }])
    })
  )
})
