import { execFileSync } from "node:child_process"
import * as NodeFs from "node:fs"
import * as NodeOs from "node:os"
import * as NodePath from "node:path"
import { EmbeddedPostgres, TcpRelay } from "@checkpool/embedded"
import { PgPool, SqlState } from "@checkpool/pg"
import type { PoolEvent } from "@checkpool/pool"
import { SqlClient, type SqlError } from "@effect/sql"
import { expect, layer } from "@effect/vitest"
import { Context, Effect, Layer, Redacted } from "effect"
import { eventually } from "./eventually.ts"
import { ordeal, through } from "./ordeal.ts"
import { makeOutside } from "./outside.ts"
import { parameters } from "./servers.ts"

class Standby extends Context.Tag("test/adversity/Standby")<Standby, EmbeddedPostgres.Service>() {}

const removed = (path: string) => Effect.promise(() => NodeFs.promises.rm(path, { recursive: true, force: true }))

/** A server and another one that follows it, from a copy of its data. */
const PairLive = Layer.scopedContext(
  Effect.gen(function* () {
    const root = yield* Effect.acquireRelease(
      Effect.sync(() => NodeFs.mkdtempSync(NodePath.join(NodeOs.tmpdir(), "checkpool-failover-"))),
      removed
    )
    yield* Effect.sync(() => NodeFs.chmodSync(root, 0o755))
    const folder = (name: string) => NodePath.join(root, name)
    const primary = yield* EmbeddedPostgres.make({ dataDir: folder("primary"), parameters })
    yield* primary.stop()
    yield* Effect.sync(() => {
      execFileSync("cp", ["-a", folder("primary"), folder("standby")])
      // Its mere existence is what counts.
      execFileSync("cp", ["-a", folder("standby/data/PG_VERSION"), folder("standby/data/standby.signal")])
    })
    yield* primary.start
    const { host, password, port, username } = primary
    const standby = yield* EmbeddedPostgres.make({
      dataDir: folder("standby"),
      parameters: {
        ...parameters,
        primary_conninfo: `host=${host} port=${port} user=${username} password=${Redacted.value(password)}`
      }
    })
    return Context.make(EmbeddedPostgres.EmbeddedPostgres, primary).pipe(Context.add(Standby, standby))
  })
)

/** The address that clients know: it is first the one server's, then the other's. */
const address = Effect.gen(function* () {
  const primary = yield* EmbeddedPostgres.EmbeddedPostgres
  const standby = yield* Standby
  const target = { host: primary.host, port: primary.port }
  const relay = yield* TcpRelay.make({ target })
  return {
    url: through(primary.url, relay),
    move: (to: "primary" | "standby") =>
      Effect.sync(() => {
        target.port = to === "primary" ? primary.port : standby.port
      })
  }
})

/** Which server process a caller is given. */
const lent = Effect.flatMap(PgPool.PgPool, (pool) => pool.use((session) => Effect.sync(() => session.processId)))

const isRefusedAsReadOnly = (error: SqlError.SqlError) => SqlState.of(error) === "25006" && PgPool.isTransient(error)

layer(PairLive, { excludeTestServices: true, timeout: "60 seconds" })("a failover", (it) => {
  it.scoped(
    "leaves a server that only reads: after the first refused write no connection of before is lent again",
    () =>
      Effect.gen(function* () {
        const { url } = yield* address
        yield* ordeal("the server becomes read-only (25006)", { url, minConnections: 5, maxConnections: 5 }, (watch) =>
          Effect.gen(function* () {
            const pool = yield* PgPool.PgPool
            const sql = yield* SqlClient.SqlClient
            yield* sql`CREATE TABLE kept (id int)`
            yield* eventually(pool.stats, (stats) => stats.idle === 5)
            const before = yield* Effect.scoped(
              Effect.gen(function* () {
                // Lent while it happens, and given back afterwards.
                const sessions = yield* Effect.replicateEffect(pool.get, 2)
                const idle = yield* Effect.scoped(Effect.replicateEffect(pool.get, 3))
                yield* watch.outside.query("ALTER SYSTEM SET default_transaction_read_only = on")
                yield* watch.outside.query("SELECT pg_reload_conf()")
                const error = yield* eventually(
                  Effect.flip(Effect.zipRight(sql`INSERT INTO kept VALUES (1)`, Effect.fail("it still writes"))),
                  (error) => error !== "it still writes"
                )
                expect(error).toSatisfy(isRefusedAsReadOnly)
                return [...sessions, ...idle].map(({ processId }) => processId)
              })
            )
            expect(new Set(before).size).toBe(5)
            for (let i = 0; i < 20; i++) expect(before).not.toContain(yield* lent)
            yield* eventually(pool.stats, (stats) => stats.idle === 5 && stats.closed >= 5)

            yield* watch.outside.query("ALTER SYSTEM RESET default_transaction_read_only")
            yield* watch.outside.query("SELECT pg_reload_conf()")
            yield* watch.mended
            yield* eventually(Effect.option(sql`INSERT INTO kept VALUES (2)`), (answer) => answer._tag === "Some")
            yield* watch.works
            yield* watch.report({ failures: 1 })
          })
        )
      })
  )

  it.scoped("from a standby that the address still names: once it names the primary, everybody is on the primary", () =>
    Effect.gen(function* () {
      const { move, url } = yield* address
      yield* move("standby")
      yield* ordeal("the address names a standby (25006)", { url, minConnections: 5, maxConnections: 5 }, (watch) =>
        Effect.gen(function* () {
          const pool = yield* PgPool.PgPool
          const sql = yield* SqlClient.SqlClient
          yield* eventually(pool.stats, (stats) => stats.idle === 5)
          expect(yield* sql`SELECT pg_is_in_recovery() AS standby`).toEqual([{ standby: true }])
          yield* move("primary")
          yield* watch.mended
          const errors = yield* Effect.all(
            Array.from({ length: 5 }, () => Effect.flip(sql`INSERT INTO kept VALUES (3)`)),
            { concurrency: "unbounded" }
          )
          for (const error of errors) expect(error).toSatisfy(isRefusedAsReadOnly)
          const placed = yield* Effect.all(
            Array.from({ length: 20 }, () => sql`SELECT pg_is_in_recovery() AS standby`),
            { concurrency: "unbounded" }
          )
          yield* watch.works
          for (const rows of placed) expect(rows).toEqual([{ standby: false }])
          yield* sql`INSERT INTO kept VALUES (4)`
          // Once for all of them, and not once for each.
          const stats = yield* eventually(pool.stats, (stats) => stats.idle === 5)
          expect(stats).toMatchObject({ opened: 10, closed: 5, timedOut: 0, rejected: 0 })
          yield* watch.report({ failures: errors.length })
        })
      )
    })
  )

  it.scoped(
    "to a standby that is promoted: only what was under way fails, and nothing that was acknowledged is lost",
    () =>
      Effect.gen(function* () {
        const { move, url } = yield* address
        const primary = yield* EmbeddedPostgres.EmbeddedPostgres
        const { url: standbyUrl } = yield* Standby
        yield* ordeal(
          "the primary stops, the standby is promoted",
          {
            url,
            minConnections: 5,
            maxConnections: 10,
            targetSessionAttrs: "read-write",
            unavailableAfter: "1 minute",
            acquireTimeout: "1 minute"
          },
          (watch) =>
            Effect.gen(function* () {
              const sql = yield* SqlClient.SqlClient
              const standby = yield* makeOutside(standbyUrl)
              // Without it a server that stops may take the last answers along that the standby has not heard of.
              yield* watch.outside.query("ALTER SYSTEM SET synchronous_standby_names = '*'")
              yield* watch.outside.query("SELECT pg_reload_conf()")
              yield* eventually(
                watch.outside.query(
                  "SELECT FROM pg_stat_replication WHERE sync_state = 'sync' AND state = 'streaming'"
                ),
                (standbys) => standbys.length === 1
              )
              yield* sql`CREATE TABLE ledger (fiber int, entry int, PRIMARY KEY (fiber, entry))`
              const failures: Array<unknown> = []
              const acknowledged: Array<string> = []
              const entries = Array.from({ length: 20 }, () => 0)
              const write = (fiber: number) =>
                Effect.suspend(() => {
                  const entry = entries[fiber]!++
                  return sql`INSERT INTO ledger VALUES (${fiber}, ${entry})`.pipe(
                    Effect.match({
                      onFailure: (error) => void failures.push(error),
                      onSuccess: () => void acknowledged.push(`${fiber}:${entry}`)
                    })
                  )
                })
              yield* Effect.forEach(entries, (_, fiber) => Effect.forkScoped(Effect.forever(write(fiber))))
              const more = (n: number) => {
                const from = acknowledged.length
                return eventually(
                  Effect.sync(() => acknowledged.length - from),
                  (written) => written >= n
                )
              }
              yield* more(200)
              yield* primary.stop("fast")
              yield* move("standby")
              yield* eventually(
                Effect.sync(() => watch.events.filter(refusedAsReadOnly).length),
                (n) => n >= 2
              )
              yield* standby.query("SELECT pg_promote()")
              yield* watch.mended
              yield* more(1)
              yield* watch.works
              yield* more(200)
              expect(failures.length).toBeLessThanOrEqual(10)
              for (const failure of failures) expect(failure).toSatisfy(PgPool.isTransient)
              const there = new Set(
                (yield* standby.query<{ at: string }>("SELECT fiber || ':' || entry AS at FROM ledger")).map(
                  ({ at }) => at
                )
              )
              expect(acknowledged.filter((entry) => !there.has(entry))).toEqual([])
              yield* watch.report({ failures: failures.length, acknowledged: acknowledged.length, "of them lost": 0 })
              // As the next ordeal's server, and to have its say about this one.
              yield* primary.start
              yield* watch.outside.query("ALTER SYSTEM RESET synchronous_standby_names")
              yield* watch.outside.query("SELECT pg_reload_conf()")
            })
        )
      })
  )
})

const refusedAsReadOnly = (event: PoolEvent.PoolEvent): boolean =>
  event._tag === "ConnectFailed" && String(event.error).includes("is a standby or read only")
