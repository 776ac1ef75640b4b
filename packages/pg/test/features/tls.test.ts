import { chmodSync, chownSync, statSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { EmbeddedPostgres, TcpRelay } from "@checkpool/embedded"
import type { PgPoolConfig } from "@checkpool/pg"
import { PgPool } from "@checkpool/pg"
import { SqlClient, SqlError } from "@effect/sql"
import { expect, layer } from "@effect/vitest"
import { Effect, Fiber, Layer, Redacted } from "effect"
import { eventually } from "../eventually.ts"
import { outside, ServerLive } from "../server.ts"
import { selfSigned } from "./certificate.ts"

const authority = selfSigned()

/** The server of the other tests, with TLS. */
const TlsServerLive = Layer.effectDiscard(
  Effect.gen(function* () {
    const server = yield* EmbeddedPostgres.EmbeddedPostgres
    const data = join(server.dataDir, "data")
    const { gid, uid } = statSync(data)
    for (const [file, content] of [
      ["server.crt", authority.cert],
      ["server.key", authority.key]
    ] as const) {
      writeFileSync(join(data, file), content)
      // The server refuses a key that others may read.
      chmodSync(join(data, file), 0o600)
      chownSync(join(data, file), uid, gid)
    }
    yield* outside(Effect.flatMap(SqlClient.SqlClient, (sql) => sql`ALTER SYSTEM SET ssl = on`))
    yield* server.restart()
  })
).pipe(Layer.provideMerge(ServerLive))

const pool = (
  config: Omit<PgPoolConfig.PgPoolConfig, "url">,
  change: (url: URL, server: EmbeddedPostgres.Service) => void = () => {}
) =>
  Layer.unwrapEffect(
    Effect.map(EmbeddedPostgres.EmbeddedPostgres, (server) => {
      const url = new URL(Redacted.value(server.url))
      change(url, server)
      return PgPool.layer({ maxConnections: 1, minConnections: 0, ...config, url: Redacted.make(url.href) })
    })
  )

const encrypted = Effect.flatMap(
  SqlClient.SqlClient,
  (sql) => sql`SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()`.values
)

const refusal = (config: Parameters<typeof pool>[0], change?: Parameters<typeof pool>[1]) =>
  Effect.map(Effect.flip(Effect.provide(encrypted, pool(config, change))), (error) => {
    expect(error).toBeInstanceOf(SqlError.SqlError)
    return error.message
  })

layer(TlsServerLive, { excludeTestServices: true, timeout: "60 seconds" })("TLS", (it) => {
  it.effect("a server whose authority is given is verified, and the session encrypted", () =>
    Effect.gen(function* () {
      expect(yield* Effect.provide(encrypted, pool({ ssl: { ca: authority.cert } }))).toEqual([[true]])
    })
  )

  it.effect("the URL can say so as well: sslmode=verify-full with sslrootcert", () =>
    Effect.gen(function* () {
      const verified = pool({}, (url, { dataDir }) => {
        url.searchParams.set("sslmode", "verify-full")
        url.searchParams.set("sslrootcert", join(dataDir, "data", "server.crt"))
      })
      expect(yield* Effect.provide(encrypted, verified)).toEqual([[true]])
    })
  )

  it.effect("ssl: true refuses a certificate that no known authority has signed, and does not go on without TLS", () =>
    Effect.gen(function* () {
      expect(yield* refusal({ ssl: true })).toMatch(/self-signed certificate/)
    })
  )

  it.effect("another authority than the given one is refused", () =>
    Effect.gen(function* () {
      expect(yield* refusal({ ssl: { ca: selfSigned().cert } })).toMatch(/self-signed certificate|unable to verify/)
    })
  )

  it.effect("a certificate for another host is refused", () =>
    Effect.gen(function* () {
      const elsewhere = (url: URL) => {
        url.hostname = "localhost"
      }
      expect(yield* refusal({ ssl: { ca: authority.cert } }, elsewhere)).toMatch(/does not match certificate/)
    })
  )

  it.effect("without verification only where that is asked for", () =>
    Effect.gen(function* () {
      expect(yield* Effect.provide(encrypted, pool({ ssl: { rejectUnauthorized: false } }))).toEqual([[true]])
    })
  )

  it.scoped("a cancel goes over TLS, too", () =>
    Effect.gen(function* () {
      const server = yield* EmbeddedPostgres.EmbeddedPostgres
      const relay = yield* TcpRelay.make({ target: server })
      const client = yield* Layer.build(
        pool({ ssl: { ca: authority.cert } }, (url) => {
          url.port = `${relay.port}`
        })
      )
      yield* Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        const fiber = yield* Effect.fork(sql`SELECT pg_sleep(3600) AS tls`)
        const active = Effect.flatMap(
          SqlClient.SqlClient,
          (sql) => sql`SELECT 1 FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%3600) AS tls%'
            AND pid <> pg_backend_pid()`
        )
        yield* eventually(outside(active), (rows) => rows.length === 1)
        const before = yield* relay.stats
        yield* Fiber.interrupt(fiber)
        yield* eventually(outside(active), (rows) => rows.length === 0)
        const after = yield* relay.stats
        expect(after.accepted).toBe(before.accepted + 1)
        // In the clear it is one packet of 16 bytes.
        expect(after.bytesToTarget - before.bytesToTarget).toBeGreaterThan(200)
        expect(yield* encrypted).toEqual([[true]])
      }).pipe(Effect.provide(client))
    })
  )
})
