import { EmbeddedPostgres } from "@checkpool/embedded"
import { PgPool } from "@checkpool/pg"
import { SqlClient, SqlError } from "@effect/sql"
import { expect, layer } from "@effect/vitest"
import { Effect, Layer, Redacted } from "effect"
import { ServerLive } from "./server.ts"

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
})
