import { PgPool, SqlState } from "@checkpool/pg"
import { SqlClient } from "@effect/sql"
import { PgClient } from "@effect/sql-pg"
import { expect, layer } from "@effect/vitest"
import { Effect, Fiber, Stream } from "effect"
import { eventually } from "./eventually.ts"
import { backends, outside, poolLayer, ServerLive } from "./server.ts"

const elsewhere = <A>(f: (sql: SqlClient.SqlClient) => Effect.Effect<A, unknown>) =>
  outside(Effect.flatMap(SqlClient.SqlClient, f))

const terminateListeners = elsewhere(
  (sql) => sql`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'`
)

const listeners = Effect.map(
  elsewhere((sql) => sql`SELECT 1 FROM pg_stat_activity WHERE query LIKE 'LISTEN%'`),
  (rows) => rows.length
)

/** Hears these payloads, sent as soon as it listens. */
const heardBy = (client: PgClient.PgClient, channel: string, payloads: ReadonlyArray<string>) =>
  Effect.gen(function* () {
    const heard = yield* Effect.fork(Stream.runCollect(Stream.take(client.listen(channel), payloads.length)))
    yield* Effect.repeat(
      Effect.delay(
        Effect.forEach(payloads, (payload) => client.notify(channel, payload)),
        "20 millis"
      ),
      { until: () => Effect.map(heard.status, (status) => status._tag === "Done") }
    )
    expect([...(yield* Fiber.join(heard))]).toEqual(payloads)
  })

const channels = (sql: PgClient.PgClient) =>
  Effect.map(sql`SELECT pg_listening_channels()`.values, (rows) => rows.flat())

layer(ServerLive, { excludeTestServices: true, timeout: "60 seconds" })("listen", (it) => {
  it.scoped("hears every payload of its channel, empty ones too, and nothing of others", () =>
    Effect.gen(function* () {
      const client = yield* PgClient.PgClient
      const heard: Array<string> = []
      yield* Effect.forkScoped(Stream.runForEach(client.listen("news"), (p) => Effect.sync(() => heard.push(p))))
      yield* eventually(listeners, (n) => n === 1)
      yield* client.notify("news", "")
      yield* client.notify("other", "not for us")
      yield* client.notify("news", 'it\'s "here"')
      yield* eventually(
        Effect.sync(() => heard.length),
        (n) => n === 2
      )
      expect(heard).toEqual(["", 'it\'s "here"'])
    }).pipe(Effect.provide(poolLayer()))
  )

  it.scoped("all listeners share one connection of the pool, which is clean again after the last", () =>
    Effect.gen(function* () {
      const client = yield* PgClient.PgClient
      const pool = yield* PgPool.PgPool
      const listen = (channel: string) => Effect.fork(Stream.runDrain(client.listen(channel)))
      const fibers = yield* Effect.all([listen("a"), listen("a"), listen("b")])
      const channels = pool.use((connection) => connection.execute("SELECT pg_listening_channels()", [], undefined))
      yield* eventually(pool.stats, (stats) => stats.leased === 1)
      expect(yield* channels).toEqual([])
      yield* Fiber.interruptAll(fibers)
      yield* eventually(pool.stats, (stats) => stats.leased === 0 && stats.resetting === 0)
      for (let i = 0; i < 4; i++) expect(yield* channels).toEqual([])
      expect(yield* pool.stats).toMatchObject({ closed: 0 })
    }).pipe(Effect.provide(poolLayer({ maxConnections: 2 })))
  )

  it.scoped("goes on when its connection breaks, and says that it may have missed something", () =>
    Effect.gen(function* () {
      const pool = yield* PgPool.PgPool
      const heard: Array<string> = []
      yield* Effect.forkScoped(
        Stream.runForEach(pool.listen("survives"), (notification) =>
          Effect.sync(() => heard.push(notification._tag === "Notified" ? notification.payload : notification._tag))
        )
      )
      yield* eventually(listeners, (n) => n === 1)
      yield* terminateListeners
      yield* eventually(
        Effect.sync(() => heard.at(-1)),
        (last) => last === "MayHaveMissed"
      )
      yield* pool.client.notify("survives", "still here")
      yield* eventually(
        Effect.sync(() => heard.at(-1)),
        (last) => last === "still here"
      )
      expect(heard).toEqual(["MayHaveMissed", "still here"])
    }).pipe(Effect.provide(poolLayer({ maxConnections: 3 })))
  )

  it.scoped("fails when there is no connection to listen on at first", () =>
    Effect.gen(function* () {
      const client = yield* PgClient.PgClient
      const pool = yield* PgPool.PgPool
      const error = yield* Effect.scoped(
        Effect.zipRight(Effect.all([pool.get, pool.get]), Effect.flip(Stream.runDrain(client.listen("never"))))
      )
      expect(PgPool.poolError(error)?._tag).toBe("AcquireTimeout")
      yield* heardBy(client, "later", ["now it works"])
    }).pipe(Effect.provide(poolLayer({ maxConnections: 2, acquireTimeout: "50 millis" })))
  )

  it.scoped("waiting for a connection can be interrupted, and leaves no lease behind", () =>
    Effect.gen(function* () {
      const client = yield* PgClient.PgClient
      const pool = yield* PgPool.PgPool
      yield* Effect.scoped(
        Effect.gen(function* () {
          yield* Effect.all([pool.get, pool.get])
          const fiber = yield* Effect.fork(Stream.runDrain(client.listen("never")))
          yield* eventually(pool.stats, ({ waiting }) => waiting === 1)
          yield* Fiber.interrupt(fiber)
        })
      )
      yield* eventually(pool.stats, ({ leased, waiting }) => leased + waiting === 0)
      yield* Effect.scoped(Effect.all([pool.get, pool.get]))
    }).pipe(Effect.provide(poolLayer({ maxConnections: 2, acquireTimeout: "5 seconds" })))
  )

  it.scoped("takes one of the maximum, and not one beyond it", () =>
    Effect.gen(function* () {
      const client = yield* PgClient.PgClient
      const pool = yield* PgPool.PgPool
      yield* Effect.forkScoped(Stream.runDrain(client.listen("counted")))
      yield* eventually(listeners, (n) => n === 1)
      yield* Effect.scoped(
        Effect.gen(function* () {
          yield* pool.get
          const error = yield* Effect.flip(pool.use(Effect.succeed))
          expect(error).toMatchObject({ _tag: "AcquireTimeout", max: 2 })
          expect(yield* backends).toBe(2)
        })
      )
    }).pipe(Effect.provide(poolLayer({ maxConnections: 2, acquireTimeout: "50 millis" })))
  )

  it.scoped("a pool of one connection goes on lending it, also through resets", () =>
    Effect.gen(function* () {
      const sql = yield* PgClient.PgClient
      const pool = yield* PgPool.PgPool
      yield* heardBy(sql, "shared", ["before"])
      const heard: Array<string> = []
      const fiber = yield* Effect.fork(Stream.runForEach(sql.listen("shared"), (p) => Effect.sync(() => heard.push(p))))
      yield* eventually(channels(sql), (all) => all.includes("shared"))
      yield* sql`SET work_mem = '1234kB'`
      expect(yield* sql`SHOW work_mem`.values).not.toEqual([["1234kB"]])
      yield* sql.withTransaction(sql`SELECT pg_notify('shared', 'from within')`)
      yield* sql.notify("shared", "after")
      yield* eventually(
        Effect.sync(() => heard.length),
        (n) => n === 2
      )
      expect(heard).toEqual(["from within", "after"])
      yield* Fiber.interrupt(fiber)
      yield* eventually(channels(sql), (all) => all.length === 0)
      expect(yield* pool.stats).toMatchObject({ opened: 1, closed: 0, leased: 0 })
    }).pipe(Effect.provide(poolLayer({ maxConnections: 1 })))
  )

  it.scoped("sql-pg's own listen goes on, too, when its connection breaks, in a pool of one as in one of many", () =>
    Effect.forEach([1, 3], (maxConnections) =>
      Effect.gen(function* () {
        const client = yield* PgClient.PgClient
        const heard: Array<string> = []
        yield* Effect.forkScoped(Stream.runForEach(client.listen("goes on"), (p) => Effect.sync(() => heard.push(p))))
        yield* eventually(listeners, (n) => n === 1)
        yield* terminateListeners
        yield* Effect.repeat(Effect.delay(Effect.ignore(client.notify("goes on", "still")), "10 millis"), {
          until: () => heard.length > 0
        })
        expect(new Set(heard)).toEqual(new Set(["still"]))
      }).pipe(Effect.scoped, Effect.provide(poolLayer({ maxConnections })))
    )
  )

  it.scoped("a channel that the server refuses fails its listeners, and no others", () =>
    Effect.gen(function* () {
      const client = yield* PgClient.PgClient
      yield* Effect.forkScoped(Stream.runDrain(client.listen("fine")))
      yield* eventually(listeners, (n) => n === 1)
      expect(SqlState.of(yield* Effect.flip(Stream.runDrain(client.listen(""))))).toBe("42601")
      yield* heardBy(client, "fine", ["still here"])
    }).pipe(Effect.provide(poolLayer({ maxConnections: 2 })))
  )

  it.scoped("ends with PoolClosed when the pool does", () =>
    Effect.gen(function* () {
      const fiber = yield* Effect.gen(function* () {
        const client = yield* PgClient.PgClient
        const fiber = yield* Effect.forkDaemon(Stream.runDrain(client.listen("the end")))
        yield* eventually(listeners, (n) => n === 1)
        return fiber
      }).pipe(Effect.provide(poolLayer({ maxConnections: 2 })))
      expect(PgPool.poolError(yield* Effect.flip(Fiber.join(fiber)))?._tag).toBe("PoolClosed")
    })
  )

  it.scoped("is refused behind a transaction pooler", () =>
    Effect.gen(function* () {
      const client = yield* PgClient.PgClient
      const error = yield* Effect.flip(Stream.runDrain(client.listen("never")))
      expect(error.message).toContain("pooler")
    }).pipe(Effect.provide(poolLayer({ pooler: "transaction" })))
  )
})
