import type { EmbeddedPostgres } from "@checkpool/embedded"
import { PgError, PgPool, SqlState } from "@checkpool/pg"
import { SqlClient, SqlError } from "@effect/sql"
import { expect, layer } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { eventually } from "./eventually.ts"
import { outside, poolLayer, ServerLive } from "./server.ts"

/** What clients meet when the server was replaced by one that only reads. Sessions that are open learn of it, too. */
const readOnly = (on: boolean) =>
  outside(
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      yield* sql.unsafe(`ALTER SYSTEM SET default_transaction_read_only = ${on ? "on" : "off"}`)
      yield* sql`SELECT pg_reload_conf()`
      const setting = Effect.map(sql`SHOW default_transaction_read_only`.values, ([row]) => row?.[0])
      yield* eventually(setting, (value) => value === (on ? "on" : "off"))
    })
  )

const whileReadOnly = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.acquireUseRelease(
    readOnly(true),
    () => effect,
    () => Effect.orDie(readOnly(false))
  )

const write = Effect.flatMap(SqlClient.SqlClient, (sql) => sql`CREATE TABLE IF NOT EXISTS written (a int)`)

/** Borrows so many at once. */
const pids = (n: number) =>
  Effect.flatMap(PgPool.PgPool, (pool) =>
    Effect.map(
      Effect.scoped(Effect.all(Array.from({ length: n }, () => pool.get))),
      (connections) => new Set(connections.map(({ processId }) => processId))
    )
  )

layer(ServerLive, { excludeTestServices: true, timeout: "60 seconds" })("failover", (it) => {
  it.scoped("after a write that the server refuses as read only, no connection of that time is lent again", () =>
    Effect.gen(function* () {
      const pool = yield* PgPool.PgPool
      const before = yield* pids(4)
      expect(before.size).toBe(4)
      yield* whileReadOnly(
        Effect.gen(function* () {
          const error = yield* Effect.flip(eventuallyRefused)
          expect(SqlState.of(error)).toBe("25006")
          expect(PgPool.isTransient(error)).toBe(true)
          const after = yield* pids(4)
          expect([...after].filter((pid) => before.has(pid))).toEqual([])
          yield* eventually(pool.stats, ({ closed }) => closed === 4)
        })
      )
    }).pipe(Effect.provide(poolLayer({ maxConnections: 4 })))
  )

  it.scoped("connections that are lent meanwhile are closed when they come back", () =>
    Effect.gen(function* () {
      const pool = yield* PgPool.PgPool
      const lent = yield* Effect.scoped(
        Effect.gen(function* () {
          const { processId } = yield* pool.get
          yield* whileReadOnly(Effect.flip(eventuallyRefused))
          return processId
        })
      )
      expect((yield* pids(4)).has(lent)).toBe(false)
    }).pipe(Effect.provide(poolLayer({ maxConnections: 4 })))
  )

  it.scoped("a refusal that comes late, on a connection of before, does not end those of after", () =>
    Effect.gen(function* () {
      const pool = yield* PgPool.PgPool
      const old = yield* pool.get
      yield* whileReadOnly(
        Effect.gen(function* () {
          yield* Effect.flip(eventuallyRefused)
          const after = yield* pids(3)
          const late = yield* Effect.flip(Effect.forever(old.executeUnprepared("CREATE TABLE late ()", [], undefined)))
          expect(SqlState.of(late)).toBe("25006")
          expect(yield* pids(3)).toEqual(after)
        })
      )
    }).pipe(Effect.scoped, Effect.provide(poolLayer({ maxConnections: 4 })))
  )

  it.scoped(
    "a write in a transaction that was asked to be read only is the user's error, and costs no connection",
    () =>
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        const pool = yield* PgPool.PgPool
        const asked = [
          sql.withTransaction(Effect.zipRight(sql`SET TRANSACTION READ ONLY`, write)),
          sql.withTransaction(Effect.zipRight(sql`SELECT set_config('transaction_read_only', 'on', true)`, write)),
          pool.use((connection) =>
            Effect.zipRight(
              connection.executeUnprepared("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY", [], undefined),
              connection.execute("CREATE TABLE nowhere (a int)", [], undefined)
            )
          )
        ]
        for (const effect of asked) expect(SqlState.of(yield* Effect.flip(effect))).toBe("25006")
        yield* write
        expect(yield* pool.stats).toMatchObject({ opened: 1, closed: 0 })
      }).pipe(Effect.provide(poolLayer({ maxConnections: 1 })))
  )

  it.scoped("targetSessionAttrs: read-write refuses a server that only reads, and comes back with it", () =>
    Effect.gen(function* () {
      const picky = { targetSessionAttrs: "read-write", maxConnections: 2 } as const
      yield* whileReadOnly(
        Effect.gen(function* () {
          const error = yield* Effect.flip(Effect.scoped(Layer.build(poolLayer(picky))))
          expect(error).toBeInstanceOf(SqlError.SqlError)
          expect((error as SqlError.SqlError).cause).toBeInstanceOf(PgError.ReadOnlyServer)
        })
      )
      yield* Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        yield* whileReadOnly(
          Effect.gen(function* () {
            yield* Effect.flip(eventuallyRefused)
            const error = yield* Effect.flip(sql`SELECT 1`)
            expect(PgPool.poolError(error)).toMatchObject({ cause: { cause: { _tag: "ReadOnlyServer" } } })
          })
        )
        yield* eventually(Effect.option(write), (written) => written._tag === "Some")
      }).pipe(Effect.provide(poolLayer({ ...picky, acquireTimeout: "500 millis", unavailableAfter: "1 minute" })))
    })
  )
})

/** Sessions read the server's configuration anew in their own time. */
const eventuallyRefused: Effect.Effect<
  unknown,
  SqlError.SqlError,
  SqlClient.SqlClient | EmbeddedPostgres.EmbeddedPostgres
> = Effect.forever(Effect.zipRight(write, Effect.sleep("5 millis")))
