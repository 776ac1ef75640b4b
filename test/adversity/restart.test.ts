import { EmbeddedPostgres } from "@checkpool/embedded"
import { PgPool } from "@checkpool/pg"
import { SqlClient } from "@effect/sql"
import { expect, layer } from "@effect/vitest"
import { Effect, Fiber, Stream } from "effect"
import { eventually } from "./eventually.ts"
import { ordeal } from "./ordeal.ts"
import { ServerLive } from "./servers.ts"

layer(ServerLive, { excludeTestServices: true, timeout: "60 seconds" })("a server that ends its sessions", (it) => {
  it.effect("all idle connections are terminated: the next 10 borrowers notice nothing", () =>
    ordeal("terminated", { minConnections: 10, maxConnections: 10 }, (watch) =>
      Effect.gen(function* () {
        const pool = yield* PgPool.PgPool
        const sql = yield* SqlClient.SqlClient
        yield* eventually(pool.stats, (stats) => stats.idle === 10)
        expect(yield* watch.outside.terminateAll).toBe(10)
        const answers = yield* Effect.all(
          Array.from({ length: 10 }, (_, i) => sql`SELECT ${i}::int AS i`),
          { concurrency: "unbounded" }
        )
        expect(answers).toEqual(Array.from({ length: 10 }, (_, i) => [{ i }]))
        const stats = yield* eventually(pool.stats, (stats) => stats.idle === 10)
        expect(stats).toMatchObject({ opened: 20, closed: 10, connectFailures: 0, timedOut: 0, rejected: 0 })
        yield* watch.report({ failures: 0, opened: stats.opened })
      })
    )
  )

  const restarts: ReadonlyArray<readonly [string, (server: EmbeddedPostgres.Service) => Effect.Effect<void, unknown>]> =
    [
      ["restarted fast", (server) => server.restart({ mode: "fast" })],
      ["restarted at once", (server) => server.restart({ mode: "immediate" })],
      ["killed and started", (server) => Effect.zipRight(server.kill, server.start)]
    ]
  for (const [how, restart] of restarts) {
    it.effect(`${how} under 50 busy fibers: each query in flight may fail once, and nothing else does`, () =>
      ordeal(
        how,
        // A machine that runs tests may take its time to start a server.
        { minConnections: 5, maxConnections: 20, unavailableAfter: "30 seconds", acquireTimeout: "30 seconds" },
        (watch) =>
          Effect.gen(function* () {
            const server = yield* EmbeddedPostgres.EmbeddedPostgres
            const pool = yield* PgPool.PgPool
            const sql = yield* SqlClient.SqlClient
            const { outside } = watch
            yield* outside.query("DROP TABLE IF EXISTS ledger")
            yield* outside.query("CREATE TABLE ledger (fiber int, entry int, PRIMARY KEY (fiber, entry))")
            let phase: "before" | "after" | "done" = "before"
            const counts = Array.from({ length: 50 }, () => ({ before: 0, after: 0, failures: [] as Array<unknown> }))
            const committed: Array<string> = []

            const busy = (fiber: number) => {
              const count = counts[fiber]!
              let entry = 0
              const work = Effect.suspend(() => {
                entry++
                return entry % 2 === 0
                  ? Effect.asVoid(sql`SELECT ${entry}::int, pg_sleep(0.001)`)
                  : Effect.tap(
                      sql.withTransaction(
                        Effect.zipRight(sql`INSERT INTO ledger VALUES (${fiber}, ${entry})`, sql`SELECT 1`)
                      ),
                      () => Effect.sync(() => committed.push(`${fiber}:${entry}`))
                    )
              })
              return work.pipe(
                Effect.matchCause({
                  onFailure: (cause) => void count.failures.push(cause),
                  onSuccess: () => {
                    if (phase === "before") count.before++
                    else count.after++
                  }
                }),
                Effect.repeat({ while: () => phase !== "done" })
              )
            }
            const fibers = yield* Effect.forEach(counts, (_, fiber) => Effect.fork(busy(fiber)))
            const all = (when: "before" | "after") =>
              eventually(
                Effect.sync(() => Math.min(...counts.map((count) => count[when]))),
                (least) => least >= 3
              )

            yield* all("before")
            yield* restart(server)
            phase = "after"
            yield* all("after")
            phase = "done"
            yield* Fiber.joinAll(fibers)

            const failures = counts.flatMap((count) => count.failures)
            for (const count of counts) expect(count.failures.length, String(count.failures)).toBeLessThanOrEqual(1)
            // Who held no connection has lost none.
            expect(failures.length).toBeLessThanOrEqual(20)
            for (const failure of failures) {
              expect(String(failure)).toMatch(/SqlError/)
              expect(String(failure)).not.toMatch(/PoolUnavailable|AcquireTimeout|PoolSaturated/)
            }
            expect(watch.mostConnecting()).toBeLessThanOrEqual(3)
            // What was reported as committed is there.
            const there = new Set(
              (yield* outside.query<{ at: string }>("SELECT fiber || ':' || entry AS at FROM ledger")).map(
                (row) => row.at
              )
            )
            expect(committed.filter((entry) => !there.has(entry))).toEqual([])
            expect(there.size).toBeLessThanOrEqual(committed.length + failures.length)
            const stats = yield* eventually(pool.stats, (stats) => stats.idle >= 5)
            expect(stats).toMatchObject({ timedOut: 0, rejected: 0, unavailable: false })
            yield* watch.report({
              failures: failures.length,
              committed: committed.length,
              connectFailures: stats.connectFailures,
              opened: stats.opened
            })
          })
      )
    )
  }

  it.effect("restarted while nobody asks: the pool is at its minimum again by itself", () =>
    ordeal("restarted idle", { minConnections: 5, maxConnections: 10 }, (watch) =>
      Effect.gen(function* () {
        const server = yield* EmbeddedPostgres.EmbeddedPostgres
        const pool = yield* PgPool.PgPool
        const sql = yield* SqlClient.SqlClient
        yield* eventually(pool.stats, (stats) => stats.idle === 5)
        yield* server.restart({ mode: "immediate" })
        const stats = yield* eventually(pool.stats, (stats) => stats.closed === 5 && stats.idle === 5)
        expect(stats).toMatchObject({ opened: 10, acquired: 0 })
        expect(yield* sql`SELECT 1 AS one`).toEqual([{ one: 1 }])
        yield* watch.report({ attempts: stats.opened + stats.connectFailures })
      })
    )
  )

  it.effect("a server that stays down: callers fail at once with the cause, and it sees few attempts", () =>
    ordeal("down", { minConnections: 5, maxConnections: 10, unavailableAfter: "300 millis" }, (watch) =>
      Effect.gen(function* () {
        const server = yield* EmbeddedPostgres.EmbeddedPostgres
        const pool = yield* PgPool.PgPool
        const sql = yield* SqlClient.SqlClient
        yield* eventually(pool.stats, (stats) => stats.idle === 5)
        yield* server.stop("immediate")
        const sockets = watch.sockets.length
        const first = yield* Effect.flip(sql`SELECT 1`)
        expect(PgPool.poolError(first)).toMatchObject({ _tag: "PoolUnavailable" })
        const errors = yield* Effect.all(
          Array.from({ length: 1000 }, () => Effect.flip(sql`SELECT 1`)),
          { concurrency: "unbounded" }
        )
        for (const error of errors) {
          expect(PgPool.poolError(error)?._tag).toBe("PoolUnavailable")
          expect(error.message).toContain("failed to connect to")
        }
        // 250 ms, 500 ms, … with jitter: nothing that 1,001 callers could hurry.
        expect(watch.sockets.length - sockets).toBeLessThanOrEqual(8)
        yield* server.start
        yield* eventually(Effect.option(sql`SELECT 1`), (answer) => answer._tag === "Some")
        yield* eventually(pool.stats, (stats) => stats.idle === 5)
        yield* watch.report({ rejected: 1001, attemptsWhileDown: watch.sockets.length - sockets })
      })
    )
  )

  it.effect("a listener goes on after a restart, and is told that it may have missed something", () =>
    ordeal("listen", { maxConnections: 3, unavailableAfter: "30 seconds" }, (watch) =>
      Effect.gen(function* () {
        const server = yield* EmbeddedPostgres.EmbeddedPostgres
        const pool = yield* PgPool.PgPool
        const heard: Array<string> = []
        yield* Effect.forkScoped(
          Stream.runForEach(pool.listen("news"), (notification) =>
            Effect.sync(() => heard.push(notification._tag === "Notified" ? notification.payload : notification._tag))
          )
        )
        const last = (text: string) =>
          eventually(
            Effect.sync(() => heard.at(-1)),
            (last) => last === text
          )
        yield* eventually(pool.stats, (stats) => stats.leased === 1)
        // Once it hears, it listens.
        yield* eventually(
          Effect.zipRight(
            pool.client.notify("news", "before"),
            Effect.sync(() => heard.length)
          ),
          (n) => n > 0
        )
        heard.length = 0
        yield* server.restart({ mode: "fast" })
        yield* last("MayHaveMissed")
        yield* pool.client.notify("news", "after")
        yield* last("after")
        expect(heard.filter((text) => text === "MayHaveMissed")).toHaveLength(1)
        yield* watch.report({ heard: heard.join(", ") })
      })
    )
  )
})
