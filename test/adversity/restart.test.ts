import { EmbeddedPostgres } from "@checkpool/embedded"
import { PgPool } from "@checkpool/pg"
import { SqlClient } from "@effect/sql"
import { expect, layer } from "@effect/vitest"
import { Effect, Fiber, Stream } from "effect"
import { eventually } from "./eventually.ts"
import { answers } from "./onRelay.ts"
import { ordeal } from "./ordeal.ts"
import { ServerLive } from "./servers.ts"
import type { Watch } from "./watch.ts"

type Fault = (server: EmbeddedPostgres.Service, watch: Watch) => Effect.Effect<unknown, unknown>

/** As a system that runs out of memory does to the largest process. */
const killOne: Fault = (_, { outside }) =>
  Effect.gen(function* () {
    const [victim] = yield* outside.query<{ pid: number }>(
      `SELECT pid FROM pg_stat_activity
        WHERE backend_type = 'client backend' AND application_name <> 'outside' LIMIT 1`
    )
    const before = outside.losses()
    yield* Effect.sync(() => process.kill(victim!.pid, "SIGKILL"))
    yield* eventually(Effect.sync(outside.losses), (losses) => losses > before)
    yield* outside.query("SELECT 1")
  })

const faults: ReadonlyArray<readonly [string, Fault]> = [
  ["the server is restarted (fast)", (server) => server.restart({ mode: "fast" })],
  ["the server is restarted (immediate)", (server) => server.restart({ mode: "immediate" })],
  ["the server is killed and started", (server) => Effect.zipRight(server.kill, server.start)],
  ["one process of the server is killed, and it ends all others", killOne]
]

layer(ServerLive, { excludeTestServices: true, timeout: "60 seconds" })("a server that ends its sessions", (it) => {
  it.effect("all idle connections are terminated: the next 10 borrowers notice nothing", () =>
    ordeal("idle connections terminated", { minConnections: 10, maxConnections: 10 }, (watch) =>
      Effect.gen(function* () {
        const pool = yield* PgPool.PgPool
        const sql = yield* SqlClient.SqlClient
        yield* eventually(pool.stats, (stats) => stats.idle === 10)
        expect(yield* watch.outside.terminateAll).toBe(10)
        yield* watch.mended
        const answers = yield* Effect.all(
          Array.from({ length: 10 }, (_, i) => sql`SELECT ${i}::int AS i`),
          { concurrency: "unbounded" }
        )
        yield* watch.works
        expect(answers).toEqual(Array.from({ length: 10 }, (_, i) => [{ i }]))
        const stats = yield* eventually(pool.stats, (stats) => stats.idle === 10)
        expect(stats).toMatchObject({ opened: 20, closed: 10, connectFailures: 0, timedOut: 0, rejected: 0 })
        yield* watch.report({ failures: 0 })
      })
    )
  )

  for (const [how, strike] of faults) {
    it.effect(`${how} under 50 busy fibers: each query in flight may fail once, and nothing else does`, () =>
      ordeal(
        `${how}, under 50 fibers`,
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
            const fibers = yield* Effect.forEach(counts, (_, fiber) => Effect.forkScoped(busy(fiber)))
            const all = (when: "before" | "after", times: number) =>
              eventually(
                Effect.sync(() => Math.min(...counts.map((count) => count[when]))),
                (least) => least >= times
              )

            yield* all("before", 3)
            yield* strike(server, watch)
            phase = "after"
            yield* watch.mended
            yield* all("after", 1)
            yield* watch.works
            yield* all("after", 3)
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
            // By our sockets, and by the server's log.
            expect(watch.mostConnecting()).toBeLessThanOrEqual(3)
            expect(watch.account().connecting).toBeLessThanOrEqual(3)
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
            yield* watch.report({ failures: failures.length, committed: committed.length, "of them lost": 0 })
          })
      )
    )
  }

  it.effect(
    "restarted while nobody asks: the pool is at its minimum again by itself, and its next user notices nothing",
    () =>
      ordeal("the server is restarted, while idle", { minConnections: 5, maxConnections: 10 }, (watch) =>
        Effect.gen(function* () {
          const server = yield* EmbeddedPostgres.EmbeddedPostgres
          const pool = yield* PgPool.PgPool
          yield* eventually(pool.stats, (stats) => stats.idle === 5)
          yield* server.restart({ mode: "immediate" })
          yield* watch.mended
          const stats = yield* eventually(pool.stats, (stats) => stats.closed === 5 && stats.idle === 5)
          yield* watch.works
          expect(stats).toMatchObject({ opened: 10, acquired: 0 })
          yield* answers
          yield* watch.report({ failures: 0 })
        })
      )
  )

  it.effect("restarted while idle, with users right after: nobody gets a connection of before", () =>
    ordeal("the server is restarted, while idle, then 50 callers", { minConnections: 5, maxConnections: 10 }, (watch) =>
      Effect.gen(function* () {
        const server = yield* EmbeddedPostgres.EmbeddedPostgres
        const pool = yield* PgPool.PgPool
        yield* eventually(pool.stats, (stats) => stats.idle === 5)
        yield* server.restart({ mode: "fast" })
        yield* watch.mended
        yield* Effect.replicateEffect(answers, 50, { concurrency: "unbounded", discard: true })
        yield* watch.works
        expect(yield* pool.stats).toMatchObject({ timedOut: 0, rejected: 0 })
        yield* watch.report({ failures: 0 })
      })
    )
  )

  it.effect("a listener goes on after a restart, and is told that it may have missed something", () =>
    ordeal(
      "the server is restarted, under a listener",
      { maxConnections: 3, unavailableAfter: "30 seconds" },
      (watch) =>
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
          yield* watch.mended
          yield* last("MayHaveMissed")
          yield* watch.works
          yield* pool.client.notify("news", "after")
          yield* last("after")
          expect(heard.filter((text) => text === "MayHaveMissed")).toHaveLength(1)
          yield* watch.report({ failures: 0, heard: heard.join(", ") })
        })
    )
  )
})
