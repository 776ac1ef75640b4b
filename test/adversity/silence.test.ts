import { EmbeddedPostgres, TcpRelay } from "@checkpool/embedded"
import { PgPool } from "@checkpool/pg"
import { PoolError } from "@checkpool/pool"
import { SqlClient } from "@effect/sql"
import { expect, layer } from "@effect/vitest"
import { Deferred, Effect, Fiber, Layer, Stream } from "effect"
import { eventually } from "./eventually.ts"
import { answers, answersAgain, onRelay, warm } from "./onRelay.ts"
import { through } from "./ordeal.ts"
import { ServerLive } from "./servers.ts"

layer(ServerLive, { excludeTestServices: true, timeout: "60 seconds" })("a network that goes silent", (it) => {
  it.scoped("swallows the first connection: the layer fails at the connect timeout", () =>
    Effect.gen(function* () {
      const { host, port, url } = yield* EmbeddedPostgres.EmbeddedPostgres
      const relay = yield* TcpRelay.make({ target: { host, port } })
      yield* relay.blackhole
      const error = yield* Effect.flip(
        Effect.scoped(Layer.build(PgPool.layer({ url: through(url, relay), connectTimeout: "200 millis" })))
      )
      expect(error.cause).toBeInstanceOf(PoolError.ConnectTimeout)
      expect((yield* relay.stats).accepted).toBeLessThanOrEqual(3)
      yield* eventually(relay.stats, (stats) => stats.open === 0 || stats.accepted === stats.open)
    })
  )

  it.scoped("swallows connections: callers are told why in time, attempts are few, and then it goes on", () =>
    onRelay(
      "black-holed connect",
      { start: "lazy", maxConnections: 5, connectTimeout: "100 millis", unavailableAfter: "300 millis" },
      (watch, relay) =>
        Effect.gen(function* () {
          const pool = yield* PgPool.PgPool
          const sql = yield* SqlClient.SqlClient
          yield* relay.blackhole
          const errors = yield* Effect.all(
            Array.from({ length: 50 }, () => Effect.flip(sql`SELECT 1`)),
            { concurrency: "unbounded" }
          )
          for (const error of errors) {
            const reason = PgPool.poolError(error)
            expect(reason).toBeInstanceOf(PoolError.PoolUnavailable)
            expect((reason as PoolError.PoolUnavailable).cause).toBeInstanceOf(PoolError.ConnectTimeout)
          }
          const attempts = watch.sockets.length
          expect(attempts).toBeLessThanOrEqual(8)
          expect(watch.mostConnecting()).toBeLessThanOrEqual(3)
          // Given up is gone: no socket waits on the far side of a black hole.
          yield* eventually(
            Effect.sync(() => watch.sockets.filter((socket) => !socket.destroyed).length),
            (open) => open <= 1
          )
          yield* Effect.zipRight(relay.restore, watch.mended)
          yield* answersAgain
          yield* watch.works
          expect((yield* pool.stats).total).toBeLessThanOrEqual(5)
          yield* watch.report({
            failures: errors.length,
            "attempts meanwhile": attempts,
            "at once": watch.mostConnecting()
          })
        })
    )
  )

  it.scoped("goes silent under busy connections: each statement fails at its timeout, and the next one works", () =>
    onRelay("half-open, busy", { maxConnections: 5, commandTimeout: "200 millis" }, (watch, relay) =>
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        yield* warm(5)
        yield* relay.blackhole
        const errors = yield* Effect.all(
          Array.from({ length: 5 }, (_, i) =>
            Effect.flip(i % 2 === 0 ? sql`SELECT 1` : sql.withTransaction(sql`SELECT 1`))
          ),
          { concurrency: "unbounded" }
        )
        for (const error of errors) {
          expect(PgPool.poolError(error)).toBeUndefined()
          expect(PgPool.isTransient(error)).toBe(true)
        }
        yield* Effect.zipRight(relay.restore, watch.mended)
        yield* answers
        yield* watch.works
        yield* watch.report({ failures: errors.length })
      })
    )
  )

  it.scoped("goes silent under a stream: it fails at the command timeout", () =>
    onRelay("half-open, streaming", { maxConnections: 1, commandTimeout: "200 millis" }, (watch, relay) =>
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        const error = yield* Effect.flip(
          Stream.runForEach(sql`SELECT generate_series(1, 100000) AS n`.stream, () => relay.blackhole)
        )
        expect(error).toMatchObject({ cause: { _tag: "CommandTimeout", timeout: 200 } })
        yield* Effect.zipRight(relay.restore, watch.mended)
        yield* answers
        yield* watch.works
        yield* watch.report({ failures: 1 })
      })
    )
  )

  it.scoped("goes silent while something is tidied up: each of it ends at its own limit, and gives its slot back", () =>
    onRelay("half-open, tidying up", { maxConnections: 4, torn: 4, commandTimeout: "200 millis" }, (watch, relay) =>
      Effect.gen(function* () {
        const pool = yield* PgPool.PgPool
        const sql = yield* SqlClient.SqlClient
        yield* warm(4)
        const silence = yield* Deferred.make<void>()
        let ready = 0
        const silent = Effect.suspend(() => {
          ready++
          return Deferred.await(silence)
        })
        const committing = yield* Effect.fork(Effect.flip(sql.withTransaction(silent)))
        const dirty = yield* Effect.fork(
          pool.use((session) => Effect.zipRight(session.executeCommand("SET work_mem = '1234kB'"), silent))
        )
        const reading = yield* sql`SELECT generate_series(1, 100000) AS n`.stream.pipe(
          Stream.tap(() => silent),
          Stream.take(1),
          Stream.runDrain,
          Effect.fork
        )
        const running = yield* Effect.fork(sql.withTransaction(sql`SELECT pg_sleep(3600)`))
        yield* eventually(watch.outside.running("SELECT pg_sleep(3600"), (n) => n === 1 && ready === 3)
        yield* relay.blackhole
        yield* Deferred.succeed(silence, undefined)

        // A caller waits for a COMMIT, and no longer than for any other statement.
        expect(PgPool.isTransient(yield* Fiber.join(committing))).toBe(true)
        // For the rest of it no caller waits longer than for the end of a stream.
        yield* Fiber.join(dirty)
        yield* Fiber.join(reading)
        yield* Fiber.interrupt(running)
        yield* eventually(pool.stats, (stats) => stats.closed === 4 && stats.total === 0)

        yield* Effect.zipRight(relay.restore, watch.mended)
        yield* answers
        yield* watch.works
        yield* eventually(watch.outside.running("SELECT pg_sleep(3600"), (n) => n === 0)
        yield* watch.report({ failures: 1 })
      })
    )
  )

  it.scoped(
    "goes silent under idle connections: after a second of silence the check finds out, the caller is served",
    () =>
      onRelay("half-open, idle", { maxConnections: 5, connectTimeout: "30 seconds" }, (watch, relay) =>
        Effect.gen(function* () {
          const pool = yield* PgPool.PgPool
          const sql = yield* SqlClient.SqlClient
          yield* warm(5)
          // What was used within the last second is not checked.
          yield* Effect.sleep("1100 millis")
          yield* relay.blackhole
          const caller = yield* Effect.fork(sql`SELECT 1 AS one`)
          yield* eventually(
            Effect.sync(() => watch.closed()),
            (closed) => closed.includes("checkTimedOut")
          )
          yield* Effect.zipRight(relay.restore, watch.mended)
          expect(yield* Fiber.join(caller)).toEqual([{ one: 1 }])
          yield* watch.works
          expect(yield* pool.stats).toMatchObject({ timedOut: 0, rejected: 0 })
          yield* watch.report({ failures: 0 })
        })
      )
  )

  it.scoped("goes silent for good: closing the pool ends all the same, and leaves no socket", () =>
    onRelay(
      "half-open, closing",
      { minConnections: 5, maxConnections: 5, connectTimeout: "200 millis" },
      (watch, relay) =>
        Effect.gen(function* () {
          const pool = yield* PgPool.PgPool
          const sql = yield* SqlClient.SqlClient
          yield* eventually(pool.stats, (stats) => stats.idle === 5)
          yield* relay.blackhole
          const fiber = yield* Effect.fork(sql`SELECT pg_sleep(1)`)
          yield* eventually(pool.stats, (stats) => stats.leased === 1)
          yield* Fiber.interrupt(fiber)
          yield* pool.drain("100 millis")
          expect(yield* pool.stats).toMatchObject({ total: 0, leased: 0 })
          yield* eventually(
            Effect.sync(() => watch.sockets.filter((socket) => !socket.destroyed).length),
            (open) => open === 0
          )
          yield* watch.report({ failures: 0 })
          // The server gets to know, so that its side can end too.
          yield* relay.restore
        })
    )
  )
})
