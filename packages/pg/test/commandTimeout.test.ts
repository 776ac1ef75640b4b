import { Socket } from "node:net"
import { EmbeddedPostgres, TcpRelay } from "@checkpool/embedded"
import { PgPool, SqlState } from "@checkpool/pg"
import { SqlClient, SqlError } from "@effect/sql"
import { expect, layer } from "@effect/vitest"
import { Duration, Effect, Stream } from "effect"
import { eventually } from "./eventually.ts"
import { poolLayer, ServerLive, through } from "./server.ts"

const enforced = Effect.flatMap(SqlClient.SqlClient, (sql) =>
  Effect.map(sql`SHOW statement_timeout`.values, ([row]) => row?.[0])
)

const sleep = (seconds: number) => Effect.flatMap(SqlClient.SqlClient, (sql) => sql`SELECT pg_sleep(${seconds})`)

const codeOf = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.map(Effect.flip(effect), SqlState.of)

/** Sockets that take down what is sent. */
const listening = (sent: Array<string>) => () => {
  const socket = new Socket()
  // Connecting puts the socket's own `write` back.
  socket.once("connect", () => {
    const write = socket.write.bind(socket)
    socket.write = ((chunk: Buffer, ...rest: []) => {
      sent.push(chunk.toString("latin1"))
      return write(chunk, ...rest)
    }) as typeof socket.write
  })
  return socket
}

layer(ServerLive, { excludeTestServices: true, timeout: "60 seconds" })("command timeout", (it) => {
  it.scoped("a statement beyond the command timeout fails with 57014, and its connection lives on", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const pool = yield* PgPool.PgPool
      const error = yield* Effect.flip(sql`SELECT pg_sleep(30)`)
      expect(SqlState.of(error)).toBe("57014")
      expect(yield* sql`SELECT 1 AS one`).toEqual([{ one: 1 }])
      expect(yield* pool.stats).toMatchObject({ opened: 1, closed: 0 })
    }).pipe(Effect.provide(poolLayer({ commandTimeout: "100 millis" })))
  )

  it.scoped("a statement that gets no answer at all fails a second after it, and so does a stream", () =>
    Effect.gen(function* () {
      const server = yield* EmbeddedPostgres.EmbeddedPostgres
      const relay = yield* TcpRelay.make({ target: server })
      yield* Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        const pool = yield* PgPool.PgPool
        for (const unanswered of [sql`SELECT 1`, Stream.runDrain(sql`SELECT 1`.stream)]) {
          yield* sql`SELECT 1`
          const { closed } = yield* pool.stats
          yield* relay.blackhole
          const error = yield* Effect.flip(unanswered)
          expect(error).toBeInstanceOf(SqlError.SqlError)
          yield* relay.restore
          expect(yield* sql`SELECT 1 AS one`).toEqual([{ one: 1 }])
          yield* eventually(pool.stats, (stats) => stats.closed === closed + 1 && stats.leased === 0)
        }
      }).pipe(
        Effect.provide(
          PgPool.layer({
            url: through(server.url, relay),
            minConnections: 0,
            maxConnections: 2,
            commandTimeout: "100 millis"
          })
        )
      )
    })
  )

  it.scoped(
    "is another one for the statements of withCommandTimeout, longer or shorter, and the pool's again after",
    () =>
      Effect.gen(function* () {
        expect(yield* enforced).toBe("100ms")
        expect(yield* PgPool.withCommandTimeout(enforced, "1 minute")).toBe("1min")
        expect(yield* PgPool.withCommandTimeout(enforced, Duration.infinity)).toBe("0")
        yield* sleep(0.3).pipe(PgPool.withCommandTimeout("1 minute"))
        expect(yield* codeOf(sleep(3600).pipe(PgPool.withCommandTimeout("10 millis")))).toBe("57014")
        expect(yield* codeOf(sleep(3600))).toBe("57014")
        expect(yield* enforced).toBe("100ms")
        expect(yield* (yield* PgPool.PgPool).stats).toMatchObject({ opened: 1, closed: 0 })
      }).pipe(Effect.provide(poolLayer({ maxConnections: 1, commandTimeout: "100 millis" })))
  )

  it.scoped("is the right one for each statement of a transaction, whatever was rolled back in between", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const long = PgPool.withCommandTimeout("1 minute")
      const undone = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
        Effect.ignore(sql.withTransaction(Effect.zipRight(effect, Effect.fail("undone"))))
      yield* sql.withTransaction(
        Effect.gen(function* () {
          expect(yield* long(enforced)).toBe("1min")
          yield* undone(enforced)
          expect(yield* enforced).toBe("2s")
          yield* undone(long(enforced))
          expect(yield* long(enforced)).toBe("1min")
          yield* undone(long(sql`SELECT 1 / 0`))
          expect(yield* long(enforced)).toBe("1min")
          expect(yield* enforced).toBe("2s")
        })
      )
      yield* long(undone(sql`SELECT 1`))
      expect(yield* enforced).toBe("2s")
      yield* long(sql.withTransaction(sql`SELECT 1`))
      expect(yield* enforced).toBe("2s")
    }).pipe(Effect.provide(poolLayer({ maxConnections: 1, commandTimeout: "2 seconds" })))
  )

  it.scoped("costs a round trip when it changes, and one to set it back: not one for each statement", () => {
    const sent: Array<string> = []
    return Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const pool = yield* PgPool.PgPool
      yield* sql`SELECT 1`
      expect(sent.filter((packet) => packet.includes("statement_timeout TO"))).toEqual([])
      yield* pool
        .use((connection) => Effect.repeatN(connection.execute("SELECT 1", [], undefined), 9))
        .pipe(PgPool.withCommandTimeout("5 minutes"))
      yield* eventually(pool.stats, (stats) => stats.idle === 1)
      yield* sql`SELECT 1`
      expect(sent.filter((packet) => packet.includes("statement_timeout TO")).length).toBe(2)
      expect(sent.filter((packet) => packet.includes("RESET ALL"))).toEqual([])
      expect(sent.filter((packet) => packet.includes("SELECT 1")).length).toBe(1)
    }).pipe(Effect.provide(poolLayer({ maxConnections: 1, stream: listening(sent) })))
  })

  it.scoped("does not hold for how slowly a stream is consumed, but for each piece of it", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      let pieces = 0
      // As slow as the timeout is short: what is under test is time itself.
      const slowly = Stream.tap(Stream.chunks(sql`SELECT generate_series(1, 400)`.stream), () =>
        Effect.delay(
          Effect.sync(() => pieces++),
          "250 millis"
        )
      )
      yield* Stream.runDrain(slowly)
      expect(pieces).toBe(4)
      const stuck = Stream.runDrain(sql`SELECT pg_sleep(3600)`.stream)
      expect(yield* codeOf(stuck)).toBe("57014")
      const longer = sql`SELECT pg_sleep(0.4)`.stream
      expect(yield* Stream.runCount(longer).pipe(PgPool.withCommandTimeout("1 minute"))).toBe(1)
      expect(yield* (yield* PgPool.PgPool).stats).toMatchObject({ opened: 1, closed: 0 })
    }).pipe(Effect.provide(poolLayer({ maxConnections: 1, commandTimeout: "200 millis" })))
  )

  it.scoped("infinite leaves it to the server's own setting", () =>
    Effect.gen(function* () {
      expect(yield* enforced).toBe("0")
    }).pipe(Effect.provide(poolLayer({ maxConnections: 1, commandTimeout: Duration.infinity })))
  )
})
