import { PgPool } from "@checkpool/pg"
import type { SqlError } from "@effect/sql"
import { SqlClient } from "@effect/sql"
import { PgClient } from "@effect/sql-pg"
import { expect, layer } from "@effect/vitest"
import { Chunk, Effect, Layer, Stream } from "effect"
import { poolLayer, ServerLive } from "../server.ts"
import { sameOnBoth, stockLayer } from "./stock.ts"

layer(ServerLive, { excludeTestServices: true, timeout: "60 seconds" })("reserve and transactions", (it) => {
  it.effect("a reserved connection is one session with every way to run a statement", () =>
    Effect.gen(function* () {
      const result = yield* sameOnBoth(
        Effect.gen(function* () {
          const sql = yield* SqlClient.SqlClient
          const connection = yield* sql.reserve
          const pid = connection.executeValues("SELECT pg_backend_pid()", [])
          const pids = yield* Effect.all([pid, pid])
          yield* connection.executeUnprepared("CREATE TEMPORARY TABLE mine (id int)", [], undefined)
          yield* connection.execute("INSERT INTO mine VALUES ($1)", [1], undefined)
          const raw = (yield* connection.executeRaw("INSERT INTO mine VALUES ($1)", [2])) as { rowCount: number }
          const stream = connection.executeStream("SELECT id FROM mine ORDER BY id", [], undefined)
          return {
            sessions: new Set(pids.flat(2)).size,
            rowCount: raw.rowCount,
            rows: yield* connection.execute("SELECT id FROM mine ORDER BY id", [], (rows) => [...rows].reverse()),
            streamed: Chunk.toReadonlyArray(yield* Stream.runCollect(stream))
          }
        })
      )
      expect(result).toEqual({
        sessions: 1,
        rowCount: 1,
        rows: [{ id: 2 }, { id: 1 }],
        streamed: [{ id: 1 }, { id: 2 }]
      })
    })
  )

  it.scoped("what a reserved session was left with does not reach the next one", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      yield* Effect.scoped(
        Effect.flatMap(sql.reserve, (c) => c.executeUnprepared("SET search_path = nowhere; BEGIN", [], undefined))
      )
      expect(yield* sql`SHOW search_path`.values).toEqual([['"$user", public']])
    }).pipe(Effect.provide(poolLayer({ maxConnections: 1 })))
  )

  it.effect("transactions commit and roll back, savepoints within them too", () =>
    Effect.gen(function* () {
      const rows = yield* sameOnBoth(
        Effect.gen(function* () {
          const sql = yield* SqlClient.SqlClient
          const insert = (id: number) => sql`INSERT INTO steps ${sql.insert({ id })}`
          const undone = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
            Effect.ignore(sql.withTransaction(Effect.zipRight(effect, Effect.fail("undone"))))
          yield* sql`CREATE TABLE steps (id int)`
          yield* sql.withTransaction(
            Effect.gen(function* () {
              yield* insert(1)
              yield* undone(insert(2))
              yield* sql.withTransaction(Effect.zipRight(insert(3), undone(Effect.zipRight(insert(4), insert(5)))))
              yield* Effect.forEach([6, 7, 8], insert, { concurrency: "unbounded" })
              yield* undone(sql.unsafe("INSERT INTO steps VALUES ($1)", [0]))
            })
          )
          yield* undone(insert(9))
          return yield* sql`SELECT id FROM steps ORDER BY id`.values
        })
      )
      expect(rows).toEqual([[1], [3], [6], [7], [8]])
    })
  )

  it.scoped("a transaction nests in one of stock sql-pg's and the other way round, on one connection", () =>
    Effect.gen(function* () {
      const stock = yield* Layer.build(stockLayer({ maxConnections: 1 }))
      const theirs = yield* Effect.provide(PgClient.PgClient, stock)
      const ours = yield* SqlClient.SqlClient
      const pid = (sql: SqlClient.SqlClient) => Effect.map(sql`SELECT pg_backend_pid()`.values, ([row]) => row![0])
      yield* ours`CREATE TABLE nested (id int)`
      const nested = (outer: SqlClient.SqlClient, inner: SqlClient.SqlClient, id: number) =>
        outer.withTransaction(
          Effect.gen(function* () {
            yield* outer`INSERT INTO nested VALUES (${id})`
            yield* Effect.ignore(
              inner.withTransaction(Effect.zipRight(inner`INSERT INTO nested VALUES (-1)`, Effect.fail("undone")))
            )
            yield* inner.withTransaction(inner`INSERT INTO nested VALUES (${id + 1})`)
            expect(yield* inner.withTransaction(pid(inner))).toBe(yield* pid(outer))
          })
        )
      yield* nested(ours, theirs, 1)
      yield* nested(theirs, ours, 3)
      yield* Effect.ignore(ours.withTransaction(Effect.zipRight(nested(theirs, ours, 5), Effect.fail("undone"))))
      expect(yield* ours`SELECT id FROM nested ORDER BY id`.values).toEqual([[1], [2], [3], [4]])
      expect(yield* (yield* PgPool.PgPool).stats).toMatchObject({ leased: 0, opened: 1 })
    }).pipe(Effect.provide(poolLayer({ maxConnections: 1 })))
  )

  it.effect("the tag PgClient, the tag SqlClient and PgPool.client are one client", () =>
    Effect.gen(function* () {
      const client = yield* PgClient.PgClient
      expect(yield* SqlClient.SqlClient).toBe(client)
      expect((yield* PgPool.PgPool).client).toBe(client)
      expect(client.safe).toBe(client)
      expect(client[PgClient.TypeId]).toBe(PgClient.TypeId)
    }).pipe(Effect.provide(poolLayer()))
  )

  it.scoped("listen and notify carry payloads from one app to another", () =>
    Effect.gen(function* () {
      const stock = yield* Layer.build(stockLayer({ maxConnections: 1 }))
      const theirs = yield* Effect.provide(PgClient.PgClient, stock)
      const ours = yield* PgClient.PgClient
      const heardBy = (to: PgClient.PgClient, notify: Effect.Effect<unknown, SqlError.SqlError>) =>
        Effect.gen(function* () {
          const heard = yield* Effect.fork(Stream.runHead(to.listen('odd "name"')))
          yield* Effect.repeat(Effect.delay(notify, "20 millis"), {
            until: () => Effect.map(heard.status, (status) => status._tag === "Done")
          })
          return yield* heard
        })
      expect(yield* heardBy(theirs, ours.notify('odd "name"', "hello"))).toMatchObject({ value: "hello" })
      // Their own `notify` sends `NOTIFY channel, $1`, which Postgres does not parse.
      const notify = theirs`SELECT pg_notify(${'odd "name"'}, ${"hello"})`
      expect(yield* heardBy(ours, notify)).toMatchObject({ value: "hello" })
    }).pipe(Effect.provide(poolLayer()))
  )
})
