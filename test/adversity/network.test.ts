import { EmbeddedPostgres, TcpRelay } from "@checkpool/embedded"
import { PgPool } from "@checkpool/pg"
import { PoolError } from "@checkpool/pool"
import { SqlClient, type SqlError } from "@effect/sql"
import { expect, layer } from "@effect/vitest"
import { Deferred, Effect, Fiber, Layer, Stream } from "effect"
import { eventually } from "./eventually.ts"
import { type Config, ordeal, through, type Watch } from "./ordeal.ts"
import { ServerLive } from "./servers.ts"

/** An ordeal of a pool that reaches its server through a relay. */
const onRelay = <A, E, R>(
  name: string,
  config: Config,
  body: (watch: Watch, relay: TcpRelay.TcpRelay) => Effect.Effect<A, E, R>
) =>
  Effect.gen(function* () {
    const { host, port, url } = yield* EmbeddedPostgres.EmbeddedPostgres
    const relay = yield* TcpRelay.make({ target: { host, port } })
    return yield* ordeal(name, { url: through(url, relay), ...config }, (watch) => body(watch, relay))
  })

/** Borrows `n` connections at once and gives them back, so that as many are idle. */
const warm = (n: number) =>
  Effect.gen(function* () {
    const pool = yield* PgPool.PgPool
    yield* Effect.scoped(Effect.replicateEffect(pool.get, n))
    yield* eventually(pool.stats, (stats) => stats.idle >= n)
  })

const answers = Effect.gen(function* () {
  const sql = yield* SqlClient.SqlClient
  expect(yield* sql`SELECT 1 AS one`).toEqual([{ one: 1 }])
})

layer(ServerLive, { excludeTestServices: true, timeout: "60 seconds" })("a network that fails", (it) => {
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
          yield* relay.restore
          yield* eventually(Effect.option(sql`SELECT 1`), (answer) => answer._tag === "Some")
          expect((yield* pool.stats).total).toBeLessThanOrEqual(5)
          yield* watch.report({ failures: errors.length, attempts })
        })
    )
  )

  it.scoped("goes silent under busy connections: each statement fails at its timeout, and the next one works", () =>
    onRelay("half-open, busy", { maxConnections: 5, commandTimeout: "200 millis" }, (watch, relay) =>
      Effect.gen(function* () {
        const pool = yield* PgPool.PgPool
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
        yield* relay.restore
        yield* answers
        yield* watch.report({ failures: errors.length, opened: (yield* pool.stats).opened })
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
        expect(PgPool.isTransient(error)).toBe(true)
        yield* relay.restore
        yield* answers
        yield* watch.report({ failures: 1 })
      })
    )
  )

  it.scoped(
    "goes silent while a stream's reader is busy: leaving the stream does not wait for an answer for ever",
    () =>
      onRelay("half-open, leaving a stream", { maxConnections: 1, commandTimeout: "200 millis" }, (watch, relay) =>
        Effect.gen(function* () {
          const sql = yield* SqlClient.SqlClient
          yield* sql`SELECT generate_series(1, 100000) AS n`.stream.pipe(
            Stream.tap(() => relay.blackhole),
            Stream.take(1),
            Stream.runDrain
          )
          yield* relay.restore
          yield* answers
          yield* watch.report({ failures: 0 })
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
          yield* relay.restore
          expect(yield* Fiber.join(caller)).toEqual([{ one: 1 }])
          expect(yield* pool.stats).toMatchObject({ timedOut: 0, rejected: 0 })
          yield* watch.report({ failures: 0, closed: watch.closed().join(", ") })
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
          yield* watch.report({})
          // The server gets to know, so that its side can end too.
          yield* relay.restore
        })
    )
  )

  it.scoped("resets every connection: those in use fail once, those that are idle are replaced unnoticed", () =>
    onRelay("cut", { minConnections: 5, maxConnections: 5, torn: 5 }, (watch, relay) =>
      Effect.gen(function* () {
        const pool = yield* PgPool.PgPool
        const sql = yield* SqlClient.SqlClient
        yield* eventually(pool.stats, (stats) => stats.idle === 5)
        const busy = yield* Effect.forEach([1, 2], () => Effect.fork(Effect.flip(sql`SELECT pg_sleep(3600)`)))
        yield* eventually(watch.outside.running("SELECT pg_sleep"), (n) => n === 2)
        yield* relay.cut
        for (const error of yield* Fiber.join(Fiber.all(busy))) expect(PgPool.isTransient(error)).toBe(true)
        for (let i = 0; i < 10; i++) yield* answers
        const stats = yield* eventually(pool.stats, (stats) => stats.idle === 5)
        expect(stats).toMatchObject({ timedOut: 0, rejected: 0 })
        // A reset tells the server nothing while it works: it would work on for an hour.
        yield* watch.outside.query(
          "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep(3600)%'"
        )
        yield* watch.report({ failures: busy.length, opened: stats.opened })
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
        yield* relay.halfClose("client")
        expect(PgPool.isTransient(yield* Fiber.join(busy))).toBe(true)
        yield* eventually(watch.outside.running("SELECT pg_sleep"), (n) => n === 0)
        for (let i = 0; i < 10; i++) yield* answers
        const stats = yield* eventually(pool.stats, (stats) => stats.idle === 3)
        expect(stats).toMatchObject({ opened: 6, timedOut: 0, rejected: 0 })
        yield* watch.report({ failures: 1, opened: stats.opened })
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
        yield* relay.halfClose("target")
        expect(yield* Fiber.join(busy)).toMatchObject([{ one: 1 }])
        yield* eventually(pool.stats, (stats) => stats.closed === 3)
        for (let i = 0; i < 10; i++) yield* answers
        const stats = yield* eventually(pool.stats, (stats) => stats.idle === 3)
        expect(stats).toMatchObject({ opened: 6, timedOut: 0, rejected: 0 })
        yield* watch.report({ failures: 0, opened: stats.opened })
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
        yield* relay.cut
        yield* eventually(
          Effect.sync(() => watch.sockets[0]!.destroyed),
          (destroyed) => destroyed
        )
        yield* Fiber.interrupt(reader).pipe(Effect.timeoutFail({ duration: "10 seconds", onTimeout: () => "it hangs" }))
        yield* answers
        expect(yield* pool.stats).toMatchObject({ opened: 2, leased: 0 })
        yield* watch.report({ failures: 0 })
      })
    )
  )
})

layer(ServerLive, { excludeTestServices: true, timeout: "60 seconds" })("what is given up", (it) => {
  it.scoped(
    "streams that are interrupted while the server works leave none of it working, and never exceed the maximum",
    () =>
      ordeal("interrupted streams", { maxConnections: 2 }, (watch) =>
        Effect.gen(function* () {
          const pool = yield* PgPool.PgPool
          const sql = yield* SqlClient.SqlClient
          for (let i = 0; i < 20; i++) {
            const fiber = yield* Effect.fork(Stream.runDrain(sql`SELECT pg_sleep(3600)`.stream))
            yield* eventually(watch.outside.running("SELECT pg_sleep(3600"), (n) => n > 0)
            yield* Fiber.interrupt(fiber)
            yield* Effect.all([answers, answers], { concurrency: 2 })
          }
          yield* eventually(watch.outside.running("SELECT pg_sleep(3600"), (n) => n === 0)
          yield* watch.report({ opened: (yield* pool.stats).opened })
        })
      )
  )

  it.scoped("a stream that the server ends between two reads: its reader may leave, and nothing is left", () =>
    ordeal("ended between reads", { maxConnections: 1, commandTimeout: "100 millis" }, (watch) =>
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        const pool = yield* PgPool.PgPool
        const rows = yield* sql`SELECT generate_series(1, 1000) AS n`.stream.pipe(
          // The first of them outlasts the command timeout.
          Stream.tap(() => eventually(watch.outside.running("SELECT generate_series"), (n) => n === 0)),
          Stream.take(1),
          Stream.runCollect
        )
        expect(rows.length).toBe(1)
        yield* answers
        expect(yield* pool.stats).toMatchObject({ opened: 1, closed: 0 })
        yield* watch.report({ failures: 0 })
      })
    )
  )

  it.scoped("a pool that closes under a running statement stops it on the server too", () =>
    Effect.gen(function* () {
      const gone = yield* Deferred.make<SqlError.SqlError>()
      yield* ordeal("closing", { maxConnections: 2, commandTimeout: "1 hour" }, (watch) =>
        Effect.gen(function* () {
          const pool = yield* PgPool.PgPool
          const sql = yield* SqlClient.SqlClient
          yield* Effect.forkDaemon(
            Effect.intoDeferred(
              Effect.flip(Effect.asVoid(sql`SELECT pg_sleep(3600)`)) as Effect.Effect<SqlError.SqlError>,
              gone
            )
          )
          yield* eventually(watch.outside.running("SELECT pg_sleep(3600"), (n) => n === 1)
          yield* pool.drain("10 millis")
          yield* eventually(watch.outside.running("SELECT pg_sleep(3600"), (n) => n === 0)
          yield* watch.report({ failures: 1 })
        })
      )
      yield* Deferred.await(gone)
    })
  )
})
