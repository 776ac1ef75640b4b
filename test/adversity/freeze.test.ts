import { EmbeddedPostgres } from "@checkpool/embedded"
import { PgPool } from "@checkpool/pg"
import { SqlClient } from "@effect/sql"
import { expect, layer } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { eventually } from "./eventually.ts"
import { answers, answersAgain, warm } from "./onRelay.ts"
import { ordeal } from "./ordeal.ts"
import { ServerLive } from "./servers.ts"
import type { Watch } from "./watch.ts"

/** Stops processes, as a machine does that is suspended or swaps; goes on at the latest when the scope closes. */
const frozen = (pids: ReadonlyArray<number>) => {
  const signal = (signal: "SIGSTOP" | "SIGCONT") =>
    Effect.sync(() => {
      for (const pid of pids) {
        try {
          process.kill(pid, signal)
        } catch {
          // it has ended
        }
      }
    })
  return Effect.as(
    Effect.acquireRelease(signal("SIGSTOP"), () => signal("SIGCONT")),
    { thaw: signal("SIGCONT") }
  )
}

/** The process that takes connections, cancels among them; sessions that are open go on without it. */
const postmaster = Effect.gen(function* () {
  const { serverPid } = yield* EmbeddedPostgres.EmbeddedPostgres
  return (yield* serverPid)!
})

const sessions = ({ outside }: Watch) =>
  Effect.map(
    outside.query<{ pid: number }>(
      "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND application_name <> 'outside'"
    ),
    (rows) => rows.map(({ pid }) => pid)
  )

layer(ServerLive, { excludeTestServices: true, timeout: "60 seconds" })("a server that is frozen", (it) => {
  it.scoped("takes connections and says nothing: statements and callers fail in time, and then it goes on", () =>
    ordeal(
      "the server is frozen",
      {
        maxConnections: 3,
        torn: 3,
        commandTimeout: "200 millis",
        connectTimeout: "200 millis",
        unavailableAfter: "300 millis"
      },
      (watch) =>
        Effect.gen(function* () {
          const pool = yield* PgPool.PgPool
          const sql = yield* SqlClient.SqlClient
          yield* warm(3)
          const { thaw } = yield* frozen([yield* postmaster, ...(yield* sessions(watch))])
          const inFlight = yield* Effect.all(
            Array.from({ length: 3 }, () => Effect.flip(sql`SELECT 1`)),
            { concurrency: "unbounded" }
          )
          for (const error of inFlight) {
            expect(PgPool.poolError(error)).toBeUndefined()
            expect(PgPool.isTransient(error)).toBe(true)
          }
          const waiting = yield* Effect.all(
            Array.from({ length: 20 }, () => Effect.flip(sql`SELECT 1`)),
            { concurrency: "unbounded" }
          )
          for (const error of waiting) expect(PgPool.poolError(error)?._tag).toBe("PoolUnavailable")
          yield* thaw
          yield* watch.mended
          yield* answersAgain
          yield* watch.works
          yield* eventually(pool.stats, (stats) => stats.total <= 3 && !stats.unavailable)
          yield* watch.report({ failures: inFlight.length + waiting.length })
        })
    )
  )

  it.scoped("takes cancels, but late: the connection is not lent before, and nobody else is hit", () =>
    ordeal("a cancel that is late", { maxConnections: 1 }, (watch) =>
      Effect.gen(function* () {
        const pool = yield* PgPool.PgPool
        const sql = yield* SqlClient.SqlClient
        yield* warm(1)
        const { thaw } = yield* frozen([yield* postmaster])
        const statement = yield* Effect.fork(sql`SELECT pg_sleep(0.3)`)
        yield* eventually(watch.outside.running("SELECT pg_sleep(0.3)"), (n) => n === 1)
        yield* Fiber.interrupt(statement)
        const next = yield* Effect.fork(sql`SELECT 'next', pg_sleep(0.3)`)
        // The statement has run to its end; the cancel is still on its way.
        yield* eventually(watch.outside.running("SELECT pg_sleep(0.3)"), (n) => n === 0)
        expect(yield* pool.stats).toMatchObject({ idle: 0, waiting: 1, resetting: 1 })
        expect(yield* watch.outside.running("SELECT 'next'")).toBe(0)
        yield* thaw
        yield* Fiber.join(next)
        yield* answers
        expect(yield* pool.stats).toMatchObject({ opened: 1, closed: 0 })
        yield* watch.report({ failures: 0 })
      })
    )
  )
})
