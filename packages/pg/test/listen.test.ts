import { PgPool } from "@checkpool/pg"
import { SqlClient } from "@effect/sql"
import { PgClient } from "@effect/sql-pg"
import { expect, layer } from "@effect/vitest"
import { Effect, Fiber, Stream } from "effect"
import { eventually } from "./eventually.ts"
import { outside, poolLayer, ServerLive } from "./server.ts"

const elsewhere = <A>(f: (sql: SqlClient.SqlClient) => Effect.Effect<A, unknown>) =>
  outside(Effect.flatMap(SqlClient.SqlClient, f))

const terminateListeners = elsewhere(
  (sql) => sql`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'`
)

const listeners = Effect.map(
  elsewhere((sql) => sql`SELECT 1 FROM pg_stat_activity WHERE query LIKE 'LISTEN%'`),
  (rows) => rows.length
)

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
      yield* client.reserve
      const error = yield* Effect.flip(Stream.runDrain(client.listen("never")))
      expect(PgPool.poolError(error)?._tag).toBe("AcquireTimeout")
    }).pipe(Effect.provide(poolLayer({ maxConnections: 1, acquireTimeout: "50 millis" })))
  )

  it.scoped("is refused behind a transaction pooler", () =>
    Effect.gen(function* () {
      const client = yield* PgClient.PgClient
      const error = yield* Effect.flip(Stream.runDrain(client.listen("never")))
      expect(error.message).toContain("pooler")
    }).pipe(Effect.provide(poolLayer({ pooler: "transaction" })))
  )
})
