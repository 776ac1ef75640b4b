import { PgPool } from "@checkpool/pg"
import { SqlClient } from "@effect/sql"
import { expect, layer } from "@effect/vitest"
import { Deferred, Effect, Fiber, Stream } from "effect"
import { eventually } from "./eventually.ts"
import { answers, onRelay } from "./onRelay.ts"
import { ServerLive } from "./servers.ts"

layer(ServerLive, { excludeTestServices: true, timeout: "60 seconds" })("a network that cuts connections", (it) => {
  it.scoped("resets every connection: those in use fail once, those that are idle are replaced unnoticed", () =>
    onRelay("cut", { minConnections: 5, maxConnections: 5, torn: 5 }, (watch, relay) =>
      Effect.gen(function* () {
        const pool = yield* PgPool.PgPool
        const sql = yield* SqlClient.SqlClient
        yield* eventually(pool.stats, (stats) => stats.idle === 5)
        const busy = yield* Effect.forEach([1, 2], () => Effect.fork(Effect.flip(sql`SELECT pg_sleep(3600)`)))
        yield* eventually(watch.outside.running("SELECT pg_sleep"), (n) => n === 2)
        yield* Effect.zipRight(relay.cut, watch.mended)
        for (const error of yield* Fiber.join(Fiber.all(busy))) expect(PgPool.isTransient(error)).toBe(true)
        yield* answers
        yield* watch.works
        for (let i = 0; i < 9; i++) yield* answers
        const stats = yield* eventually(pool.stats, (stats) => stats.idle === 5)
        expect(stats).toMatchObject({ timedOut: 0, rejected: 0 })
        // A reset tells the server nothing while it works: it would work on for an hour.
        yield* watch.outside.query(
          "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep(3600)%'"
        )
        yield* watch.report({ failures: busy.length })
      })
    )
  )

  it.scoped("ends connections toward us: whoever uses one fails once, the idle ones are replaced unnoticed", () =>
    onRelay("half-close toward us", { minConnections: 3, maxConnections: 3, torn: 3 }, (watch, relay) =>
      Effect.gen(function* () {
        const pool = yield* PgPool.PgPool
        const sql = yield* SqlClient.SqlClient
        yield* eventually(pool.stats, (stats) => stats.idle === 3)
        const busy = yield* Effect.fork(Effect.flip(sql`SELECT pg_sleep(0.5)`))
        yield* eventually(watch.outside.running("SELECT pg_sleep"), (n) => n === 1)
        yield* Effect.zipRight(relay.halfClose("client"), watch.mended)
        expect(PgPool.isTransient(yield* Fiber.join(busy))).toBe(true)
        yield* eventually(pool.stats, (stats) => stats.closing + stats.closed === 3)
        yield* answers
        yield* watch.works
        for (let i = 0; i < 9; i++) yield* answers
        const stats = yield* eventually(pool.stats, (stats) => stats.idle === 3)
        expect(stats).toMatchObject({ opened: 6, timedOut: 0, rejected: 0 })
        yield* watch.report({ failures: 1 })
      })
    )
  )

  it.scoped("ends connections toward the server: what runs still gets its answer, and nobody notices", () =>
    onRelay("half-close toward the server", { minConnections: 3, maxConnections: 3 }, (watch, relay) =>
      Effect.gen(function* () {
        const pool = yield* PgPool.PgPool
        const sql = yield* SqlClient.SqlClient
        yield* eventually(pool.stats, (stats) => stats.idle === 3)
        const busy = yield* Effect.fork(sql`SELECT 1 AS one, pg_sleep(0.5)`)
        yield* eventually(watch.outside.running("SELECT 1 AS one"), (n) => n === 1)
        yield* Effect.zipRight(relay.halfClose("target"), watch.mended)
        expect(yield* Fiber.join(busy)).toMatchObject([{ one: 1 }])
        yield* eventually(pool.stats, (stats) => stats.closed === 3)
        yield* answers
        yield* watch.works
        for (let i = 0; i < 9; i++) yield* answers
        const stats = yield* eventually(pool.stats, (stats) => stats.idle === 3)
        expect(stats).toMatchObject({ opened: 6, timedOut: 0, rejected: 0 })
        yield* watch.report({ failures: 0 })
      })
    )
  )

  it.scoped("loses a stream's connection between two reads: its reader may leave, and the lease ends", () =>
    onRelay("cut between reads", { maxConnections: 1, torn: 1 }, (watch, relay) =>
      Effect.gen(function* () {
        const pool = yield* PgPool.PgPool
        const sql = yield* SqlClient.SqlClient
        const reading = yield* Deferred.make<void>()
        const reader = yield* sql`SELECT generate_series(1, 100000) AS n`.stream.pipe(
          Stream.runForEach(() => Effect.zipRight(Deferred.succeed(reading, undefined), Effect.never)),
          Effect.fork
        )
        yield* Deferred.await(reading)
        yield* Effect.zipRight(relay.cut, watch.mended)
        yield* eventually(
          Effect.sync(() => watch.sockets[0]!.destroyed),
          (destroyed) => destroyed
        )
        yield* Fiber.interrupt(reader).pipe(Effect.timeoutFail({ duration: "10 seconds", onTimeout: () => "it hangs" }))
        yield* answers
        yield* watch.works
        expect(yield* pool.stats).toMatchObject({ opened: 2, leased: 0 })
        yield* watch.report({ failures: 0 })
      })
    )
  )

  it.scoped("cuts a session that is being reset: its borrower has long gone, and the next one gets another", () =>
    onRelay("cut during a reset", { maxConnections: 1, torn: 1 }, (watch, relay) =>
      Effect.gen(function* () {
        const pool = yield* PgPool.PgPool
        yield* pool.use((session) => session.executeCommand("SELECT 1"))
        yield* relay.setRoundTrip("1 second")
        yield* pool.use((session) => session.executeCommand("SET work_mem = '1234kB'"))
        const waiting = yield* Effect.fork(answers)
        yield* eventually(pool.stats, (stats) => stats.resetting === 1 && stats.waiting === 1)
        yield* relay.setRoundTrip(0)
        yield* Effect.zipRight(relay.cut, watch.mended)
        yield* Fiber.join(waiting)
        yield* watch.works
        expect(yield* pool.stats).toMatchObject({ opened: 2, closed: 1, timedOut: 0, rejected: 0 })
        yield* watch.report({ failures: 0 })
      })
    )
  )

  it.scoped("cuts a cancel and its statement: the interrupt has long returned, and nobody else is hit", () =>
    onRelay("cut during a cancel", { maxConnections: 1, torn: 1 }, (watch, relay) =>
      Effect.gen(function* () {
        const pool = yield* PgPool.PgPool
        const sql = yield* SqlClient.SqlClient
        const running = yield* Effect.fork(sql`SELECT pg_sleep(3600)`)
        yield* eventually(watch.outside.running("SELECT pg_sleep(3600"), (n) => n === 1)
        yield* relay.setRoundTrip("1 second")
        yield* Fiber.interrupt(running)
        const waiting = yield* Effect.fork(answers)
        yield* eventually(relay.stats, (stats) => stats.accepted === 2)
        yield* relay.setRoundTrip(0)
        yield* Effect.zipRight(relay.cut, watch.mended)
        yield* Fiber.join(waiting)
        yield* watch.works
        expect(yield* pool.stats).toMatchObject({ opened: 2, closed: 1, timedOut: 0, rejected: 0 })
        // Neither the reset nor a cancel has reached the server: it would work on for an hour.
        yield* watch.outside.query(
          "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep(3600)%'"
        )
        yield* watch.report({ failures: 0 })
      })
    )
  )

  it.scoped("cuts connections that are being opened: they are opened again, and nobody who waits for them fails", () =>
    onRelay("cut while connecting", { maxConnections: 3, start: "lazy", torn: 3 }, (watch, relay) =>
      Effect.gen(function* () {
        const pool = yield* PgPool.PgPool
        yield* relay.setRoundTrip("1 second")
        const waiting = yield* Effect.forEach([1, 2, 3, 4, 5], () => Effect.fork(answers))
        yield* eventually(relay.stats, (stats) => stats.accepted === 3)
        yield* relay.setRoundTrip(0)
        yield* Effect.zipRight(relay.cut, watch.mended)
        yield* Fiber.joinAll(waiting)
        yield* watch.works
        expect(yield* pool.stats).toMatchObject({ timedOut: 0, rejected: 0, unavailable: false })
        yield* watch.report({ failures: 0 })
      })
    )
  )

  it.scoped("refuses connections for a while: callers wait, attempts are few, and then it goes on", () =>
    onRelay("refused", { maxConnections: 3, start: "lazy", unavailableAfter: "1 minute" }, (watch, relay) =>
      Effect.gen(function* () {
        const pool = yield* PgPool.PgPool
        yield* relay.refuse
        const waiting = yield* Effect.forEach(Array.from({ length: 50 }), () => Effect.fork(answers))
        yield* eventually(pool.stats, (stats) => stats.connectFailures >= 3)
        // 3 at once, then one at a time with pauses that grow: nothing that 50 callers could hurry.
        expect(watch.sockets.length).toBeLessThanOrEqual(6)
        yield* Effect.zipRight(relay.accept, watch.mended)
        yield* Fiber.joinAll(waiting)
        yield* watch.works
        expect(yield* pool.stats).toMatchObject({ timedOut: 0, rejected: 0 })
        yield* watch.report({ failures: 0 })
      })
    )
  )
})
