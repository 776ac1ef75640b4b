import { Socket } from "node:net"
import { EmbeddedPostgres, TcpRelay } from "@checkpool/embedded"
import type { PgPoolConfig } from "@checkpool/pg"
import { PgPool } from "@checkpool/pg"
import { SqlClient, SqlError } from "@effect/sql"
import { expect, layer } from "@effect/vitest"
import type { Duration } from "effect"
import { Effect, Layer, Redacted } from "effect"
import { poolLayer, ServerLive, through } from "./server.ts"

layer(ServerLive, { excludeTestServices: true, timeout: "60 seconds" })("opening connections", (it) => {
  it.scoped("asks an effect for the password at each connect", () =>
    Effect.gen(function* () {
      const { password, url } = yield* EmbeddedPostgres.EmbeddedPostgres
      const bare = new URL(Redacted.value(url))
      bare.password = ""
      let asked = 0
      const live = PgPool.layer({
        url: Redacted.make(bare.toString()),
        password: Effect.sync(() => {
          asked++
          return password
        }),
        minConnections: 0,
        maxConnections: 2,
        maxUses: 1
      })
      yield* Effect.provide(
        Effect.flatMap(SqlClient.SqlClient, (sql) => Effect.repeatN(sql`SELECT 1`, 2)),
        live
      )
      expect(asked).toBe(3)
      const failing = PgPool.layer({
        url: Redacted.make(bare.toString()),
        password: Effect.fail("the vault is sealed")
      })
      const error = yield* Effect.flip(Effect.scoped(Layer.build(failing)))
      expect(error).toMatchObject({ _tag: "SqlError", cause: "the vault is sealed" })
    })
  )

  const failing = (config: (url: URL) => string) =>
    Effect.gen(function* () {
      const { url } = yield* EmbeddedPostgres.EmbeddedPostgres
      const changed = new URL(Redacted.value(url))
      const error = yield* Effect.flip(
        Effect.scoped(Layer.build(PgPool.layer({ url: Redacted.make(config(changed)), maxConnections: 1 })))
      )
      expect(error).toBeInstanceOf(SqlError.SqlError)
      expect(error.message).not.toContain(changed.password)
      return error.message
    })

  it.scoped("a wrong password is named at the start, without the password", () =>
    Effect.gen(function* () {
      const message = yield* failing((url) => {
        url.password = "wr0ng-secret"
        return url.toString()
      })
      expect(message).toMatch(/failed to connect to 127\.0\.0\.1:\d+, database "postgres", as user "postgres"/)
      expect(message).toMatch(/password authentication failed .*SQLSTATE 28P01/)
    })
  )

  it.scoped("a server that is down is named at the start", () =>
    Effect.gen(function* () {
      const message = yield* failing((url) => {
        url.port = "1"
        return url.toString()
      })
      expect(message).toMatch(/failed to connect to 127\.0\.0\.1:1, .*ECONNREFUSED/)
    })
  )

  it.scoped("a URL that is none is refused without quoting it", () =>
    Effect.gen(function* () {
      expect(yield* failing((url) => `postgres://user:${url.password}@:::/`)).toContain("postgres://user:password@")
    })
  )

  it.scoped("start: one of them by default, the minimum, or none before the first need", () =>
    Effect.gen(function* () {
      const opened = (start: PgPoolConfig.PgPoolConfig["start"]) =>
        Effect.provide(
          Effect.flatMap(PgPool.PgPool, (pool) => pool.stats),
          // Nothing more is opened in the background before the look.
          poolLayer({ start, minConnections: 3, maxConnecting: 1 })
        )
      expect(yield* opened("lazy")).toMatchObject({ opened: 0, total: 0 })
      expect(yield* opened("one")).toMatchObject({ opened: 1 })
      expect(yield* opened(undefined)).toMatchObject({ opened: 1 })
      expect(yield* opened("min")).toMatchObject({ opened: 3 })
    })
  )

  it.scoped("start: lazy needs no server to begin with, and says what is wrong when there is need", () =>
    Effect.gen(function* () {
      const context = yield* Layer.build(
        PgPool.layer({ host: "127.0.0.1", port: 1, start: "lazy", unavailableAfter: 0, acquireTimeout: "5 seconds" })
      )
      const error = yield* Effect.flip(
        Effect.provide(
          Effect.flatMap(SqlClient.SqlClient, (sql) => sql`SELECT 1`),
          context
        )
      )
      expect(PgPool.poolError(error)?._tag).toBe("PoolUnavailable")
      expect(error.message).toContain("ECONNREFUSED")
    })
  )

  it.scoped("a server that does not answer fails the start after the connect timeout, as something to try again", () =>
    Effect.gen(function* () {
      const server = yield* EmbeddedPostgres.EmbeddedPostgres
      const relay = yield* TcpRelay.make({ target: server })
      yield* relay.blackhole
      const silent = PgPool.layer({ url: through(server.url, relay), connectTimeout: "100 millis" })
      const error = yield* Effect.flip(Effect.scoped(Layer.build(silent)))
      expect(error).toMatchObject({ _tag: "SqlError", cause: { _tag: "ConnectTimeout" } })
      expect(PgPool.isTransient(error)).toBe(true)
    })
  )

  it.scoped("TCP asks after a silence whether the other side is there: 30 s, or what is asked for", () =>
    Effect.gen(function* () {
      const asked: Array<unknown> = []
      const stream = () => {
        const socket = new Socket()
        const setKeepAlive = socket.setKeepAlive.bind(socket)
        socket.setKeepAlive = (...args) => {
          asked.push(args)
          return setKeepAlive(...args)
        }
        return socket
      }
      const connect = (keepAlive?: Duration.DurationInput) =>
        Effect.scoped(Layer.build(poolLayer({ stream, keepAlive, maxConnections: 1, minConnections: 1 })))
      yield* connect()
      yield* connect("5 seconds")
      expect(asked).toEqual([
        [true, 30_000],
        [true, 5000]
      ])
    })
  )
})
