import { PgPool } from "@checkpool/pg"
import { SqlClient } from "@effect/sql"
import { expect, layer } from "@effect/vitest"
import { Effect } from "effect"
import type pg from "pg"
import { dirt, look, prepareServer, transactions, ways } from "./dirt.ts"
import { eventually } from "./eventually.ts"
import { type Config, ordeal } from "./ordeal.ts"
import { ServerLive } from "./servers.ts"
import { socketOf, type Watch } from "./watch.ts"

/** The first statement of the next borrower. */
const looked = Effect.flatMap(PgPool.PgPool, (pool) =>
  Effect.map(
    pool.use((session) => session.executeUnprepared(look, [], undefined)),
    (rows) => rows[0] as object
  )
)

/** An ordeal of a pool of one connection, which `onConnect` has given a time zone. */
const onOneSession = <A, E, R>(name: string, config: Partial<Config>, body: (watch: Watch) => Effect.Effect<A, E, R>) =>
  ordeal(
    name,
    {
      maxConnections: 1,
      onConnect: (session) => session.executeUnprepared("SET TimeZone = 'UTC'", [], undefined),
      ...config
    },
    body
  )

/** Leaves each text in each way, and gives those after which the next borrower has found something. */
const found = (texts: ReadonlyArray<string>) =>
  Effect.gen(function* () {
    const pool = yield* PgPool.PgPool
    const sql = yield* SqlClient.SqlClient
    let clean = yield* looked
    expect(clean).toMatchObject({ time_zone: "UTC", transaction: null, mine: null, locks: 0, prepared: 0 })
    const dirty: Array<string> = []
    for (const text of texts) {
      for (const [how, leave] of Object.entries(ways)) {
        yield* Effect.exit(leave(text, sql, pool))
        const now = yield* looked
        try {
          expect(now).toEqual(clean)
        } catch {
          dirty.push(`${how}: ${text}: ${JSON.stringify(now)}`)
          yield* pool.expire
          clean = yield* looked
        }
      }
    }
    return dirty
  })

layer(ServerLive, { excludeTestServices: true, timeout: "60 seconds" })("a session that was left dirty", (it) => {
  it.effect("is clean for its next borrower, whatever was done to it and in which way, and is the same one", () =>
    onOneSession("dirty sessions", {}, (watch) =>
      Effect.gen(function* () {
        const pool = yield* PgPool.PgPool
        yield* prepareServer(watch.outside)
        const clean = yield* looked
        const harmless: Array<string> = []
        for (const text of [...dirt, ...transactions]) {
          const left = yield* pool.use((session) =>
            Effect.zipRight(
              session.executeUnprepared(text, [], undefined),
              session.executeUnprepared(look, [], undefined)
            )
          )
          if (JSON.stringify(left[0]) === JSON.stringify(clean)) harmless.push(text)
        }
        // Else they would prove nothing.
        expect(harmless).toEqual([])
        expect(yield* found([...dirt, ...transactions])).toEqual([])
        expect(yield* pool.stats).toMatchObject({ opened: 1, closed: 0 })
        yield* watch.report({
          failures: 0,
          texts: dirt.length + transactions.length,
          ways: Object.keys(ways).length
        })
      })
    )
  )

  it.effect("by a function that does not look like it is clean with `reset: always`", () =>
    onOneSession("dirty sessions: functions of one's own", { reset: "always" }, (watch) =>
      Effect.gen(function* () {
        expect(yield* found(["SELECT hidden()"])).toEqual([])
        yield* watch.report({ failures: 0 })
      })
    )
  )

  it.effect(
    "by a failed transaction, a COPY or a transaction prepared for another session is clean, and the same one",
    () =>
      onOneSession("dirty sessions: COPY, two phases", {}, (watch) =>
        Effect.gen(function* () {
          const pool = yield* PgPool.PgPool
          const sql = yield* SqlClient.SqlClient
          const clean = yield* looked
          const cleanAfter = (effect: Effect.Effect<unknown, unknown>) =>
            Effect.zipRight(
              effect,
              Effect.map(looked, (now) => expect(now).toEqual(clean))
            )
          yield* cleanAfter(
            pool.use((session) =>
              Effect.zipRight(session.executeCommand("BEGIN"), Effect.flip(session.executeCommand("SELECT 1 / 0")))
            )
          )
          yield* cleanAfter(sql`COPY (SELECT generate_series(1, 10000)) TO STDOUT`)
          yield* cleanAfter(Effect.flip(sql`COPY copied FROM STDIN`))
          yield* cleanAfter(Effect.flip(sql.withTransaction(sql`COPY copied FROM STDIN`)))
          yield* cleanAfter(sql`BEGIN; INSERT INTO copied VALUES (1); PREPARE TRANSACTION 'first'`)
          yield* cleanAfter(Effect.exit(sql.withTransaction(sql`PREPARE TRANSACTION 'second'`)))
          for (const name of ["first", "second"]) yield* Effect.exit(sql.unsafe(`ROLLBACK PREPARED '${name}'`))
          expect(yield* sql`SELECT gid FROM pg_prepared_xacts`).toEqual([])
          yield* watch.report({ failures: 0 })
        })
      )
  )

  it.effect("in the middle of a COPY that nobody ends is closed, and not lent", () =>
    ordeal("a COPY that nobody ends", { maxConnections: 1 }, (watch) =>
      Effect.gen(function* () {
        const pool = yield* PgPool.PgPool
        const sql = yield* SqlClient.SqlClient
        yield* sql`CREATE TABLE IF NOT EXISTS copied (a int)`
        yield* Effect.scoped(
          Effect.gen(function* () {
            const session = yield* pool.get
            // As pg-copy-streams does it: a query of the driver's own kind.
            const copy = {
              callback: () => {},
              submit: (connection: { query: (text: string) => void }) => connection.query("COPY copied FROM STDIN"),
              handleCopyInResponse() {},
              handleError() {
                copy.callback()
              }
            }
            session.client.query(copy as unknown as pg.Submittable)
            yield* eventually(watch.outside.running("COPY copied"), (n) => n === 1)
          })
        )
        expect(yield* sql`SELECT 1 AS one`).toEqual([{ one: 1 }])
        expect(yield* pool.stats).toMatchObject({ opened: 2 })
        expect(watch.closed()).toEqual(["resetFailed"])
        yield* watch.report({ failures: 0 })
      })
    )
  )

  it.effect("costs one round trip if it was dirty, and nothing if it was clean", () =>
    ordeal("resets cost nothing when clean", { maxConnections: 1 }, (watch) =>
      Effect.gen(function* () {
        const pool = yield* PgPool.PgPool
        const sql = yield* SqlClient.SqlClient
        yield* sql`SELECT 1`
        const socket = watch.sockets[0]!
        let sent = 0
        const write = socket.write
        socket.write = ((...args: Parameters<typeof write>) => {
          sent++
          return write.apply(socket, args)
        }) as typeof write
        /** Packets that it takes to run this and to be ready for the next one. */
        const packets = (effect: Effect.Effect<unknown, unknown>) =>
          Effect.gen(function* () {
            const before = sent
            yield* effect
            yield* eventually(pool.stats, (stats) => stats.idle === 1)
            return sent - before
          })
        const statement = yield* packets(sql`SELECT 1`)
        expect(yield* packets(pool.use(() => Effect.void))).toBe(0)
        expect(yield* packets(sql.withTransaction(Effect.void))).toBe(2)
        expect(yield* packets(Effect.flip(sql.withTransaction(sql`SELECT 1 / 0`)))).toBeGreaterThan(2)
        for (let i = 0; i < 100; i++) expect(yield* packets(sql`SELECT 1`)).toBe(statement)
        yield* sql`SET work_mem = '1234kB'`
        yield* eventually(pool.stats, (stats) => stats.idle === 1)
        expect(yield* packets(pool.use(() => Effect.void))).toBe(0)
        const simple = yield* packets(pool.use((session) => session.executeCommand("SELECT 1")))
        const dirty = yield* packets(pool.use((session) => session.executeCommand("SET work_mem = '1234kB'")))
        expect(dirty).toBe(2 * simple)
        expect(socketOf(yield* Effect.scoped(pool.get))).toBe(socket)
        yield* watch.report({ failures: 0, "packets more when clean": 0, "when dirty": dirty - simple })
      })
    )
  )
})
