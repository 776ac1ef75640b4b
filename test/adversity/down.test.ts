import * as NodeFs from "node:fs"
import * as NodePath from "node:path"
import { EmbeddedPostgres } from "@checkpool/embedded"
import { PgPool } from "@checkpool/pg"
import { PoolEvent } from "@checkpool/pool"
import { SqlClient } from "@effect/sql"
import { expect, layer } from "@effect/vitest"
import { Duration, Effect } from "effect"
import { eventually } from "./eventually.ts"
import { answers, answersAgain } from "./onRelay.ts"
import { full, ordeal } from "./ordeal.ts"
import { parameters, ServerLive } from "./servers.ts"

/** How long the server is away. */
const outage = Duration.seconds(full ? 90 : 3)

layer(ServerLive, { excludeTestServices: true, timeout: "60 seconds" })("a server that stays down", (it) => {
  it.effect(
    `callers fail at once with the cause, it sees few attempts, and ${Duration.format(outage)} later all is well`,
    () =>
      ordeal(
        `the server is down for ${Duration.format(outage)}`,
        { minConnections: 5, maxConnections: 10, unavailableAfter: "300 millis" },
        (watch) =>
          Effect.gen(function* () {
            const server = yield* EmbeddedPostgres.EmbeddedPostgres
            const pool = yield* PgPool.PgPool
            const sql = yield* SqlClient.SqlClient
            yield* eventually(pool.stats, (stats) => stats.idle === 5)
            yield* server.stop("immediate")
            yield* eventually(pool.stats, (stats) => stats.idle === 0)
            const before = watch.sockets.length
            const first = yield* Effect.flip(sql`SELECT 1`)
            expect(PgPool.poolError(first)).toMatchObject({ _tag: "PoolUnavailable" })

            let failures = 1
            let slowest = 0
            const call = Effect.timed(Effect.flip(sql`SELECT 1`)).pipe(
              Effect.tap(([took, error]) =>
                Effect.sync(() => {
                  expect(PgPool.poolError(error)?._tag).toBe("PoolUnavailable")
                  expect(error.message).toContain("failed to connect to")
                  failures++
                  slowest = Math.max(slowest, Duration.toMillis(took))
                })
              )
            )
            yield* Effect.all(
              Array.from({ length: 1000 }, () => call),
              { concurrency: "unbounded", discard: true }
            )
            // And goes on asking, some hundred times a second.
            yield* Effect.forever(Effect.zipRight(call, Effect.sleep("5 millis"))).pipe(
              Effect.timeout(outage),
              Effect.ignore
            )
            const attempts = watch.sockets.length - before
            // 250 ms, 500 ms, … up to 5 s, with up to half of it off by chance: nothing that callers could hurry.
            expect(attempts).toBeLessThanOrEqual(8 + Duration.toSeconds(outage) / 2.5)

            yield* server.start
            yield* watch.mended
            yield* answersAgain
            yield* watch.works
            yield* eventually(pool.stats, (stats) => stats.idle === 5)
            yield* watch.report({
              failures,
              "slowest failure": `${Math.round(slowest)} ms`,
              "attempts meanwhile": attempts
            })
          })
      )
  )
})

/** Recovers as long as that takes: each file that it asks the archive for costs half a second. */
const RecoveringLive = EmbeddedPostgres.layer({
  parameters: { ...parameters, restore_command: "sleep 0.5; false", hot_standby: "off" }
})

layer(RecoveringLive, { excludeTestServices: true, timeout: "60 seconds" })(
  "a server that recovers from a crash",
  (it) => {
    it.effect("refuses (57P03) until it is done: callers wait for it, attempts are few, and none of them fails", () =>
      ordeal(
        "the server is killed, and recovers (57P03)",
        { minConnections: 5, maxConnections: 10, unavailableAfter: "30 seconds", acquireTimeout: "30 seconds" },
        (watch) =>
          Effect.gen(function* () {
            const server = yield* EmbeddedPostgres.EmbeddedPostgres
            const pool = yield* PgPool.PgPool
            yield* eventually(pool.stats, (stats) => stats.idle === 5)
            yield* server.kill
            // Recovery from an archive, which takes its time, and is a crash recovery as soon as the archive has nothing.
            yield* Effect.sync(() => NodeFs.writeFileSync(NodePath.join(server.dataDir, "data", "recovery.signal"), ""))
            yield* eventually(pool.stats, (stats) => stats.idle === 0)
            const before = watch.sockets.length
            yield* server.start
            yield* Effect.replicateEffect(answers, 50, { concurrency: "unbounded", discard: true })
            const refusals = watch.events
              .filter(PoolEvent.PoolEvent.$is("ConnectFailed"))
              .map(({ error }) => String(error))
            expect(refusals.filter((refusal) => refusal.includes("57P03")).length).toBeGreaterThan(0)
            const attempts = watch.sockets.length - before
            expect(attempts).toBeLessThanOrEqual(20)
            const stats = yield* eventually(pool.stats, (stats) => stats.idle >= 5)
            expect(stats).toMatchObject({ timedOut: 0, rejected: 0, unavailable: false })
            yield* watch.report({
              failures: 0,
              refused: watch.account().refused.length,
              "attempts meanwhile": attempts
            })
          })
      )
    )
  }
)
