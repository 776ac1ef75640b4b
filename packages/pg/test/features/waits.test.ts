import { PgPool } from "@checkpool/pg"
import { SqlClient } from "@effect/sql"
import { expect, layer } from "@effect/vitest"
import { Clock, Deferred, Effect, Fiber, Stream, Tracer } from "effect"
import { eventually } from "../eventually.ts"
import { poolLayer, ServerLive } from "../server.ts"

interface Happened {
  readonly span: string
  readonly event: string
  readonly attributes: Record<string, unknown> | undefined
}

/** Runs an effect in a span "operation", on a clock that only the test moves, and gives the events of all spans. */
const observed = <A, E, R>(effect: Effect.Effect<A, E, R>, clock: { nanos: bigint }) =>
  Effect.gen(function* () {
    const events: Array<Happened> = []
    const native = yield* Effect.tracer
    const tracer = Tracer.make({
      ...native,
      span: (name, ...rest) => {
        const span = native.span(name, ...rest)
        return Object.assign(span, {
          event: (event: string, _time: bigint, attributes?: Record<string, unknown>) =>
            void events.push({ span: name, event, attributes })
        })
      }
    })
    yield* effect.pipe(
      Effect.withSpan("operation"),
      Effect.withTracer(tracer),
      Effect.withClock(Object.assign(Clock.make(), { unsafeCurrentTimeNanos: () => clock.nanos }))
    )
    return events.filter(({ event }) => event === "connection.acquired")
  })

const kinds: Record<string, readonly [string, Effect.Effect<unknown, unknown, SqlClient.SqlClient>]> = {
  "a statement": ["operation", Effect.flatMap(SqlClient.SqlClient, (sql) => sql`SELECT 1`)],
  "a transaction": [
    "sql.transaction",
    Effect.flatMap(SqlClient.SqlClient, (sql) => sql.withTransaction(sql`SELECT 1`))
  ],
  "a stream": ["operation", Effect.flatMap(SqlClient.SqlClient, (sql) => Stream.runDrain(sql`SELECT 1`.stream))],
  "a reserved connection": ["operation", Effect.flatMap(SqlClient.SqlClient, (sql) => Effect.scoped(sql.reserve))]
}

layer(ServerLive, { excludeTestServices: true, timeout: "60 seconds" })("a wait for a connection", (it) => {
  for (const [kind, [span, effect]] of Object.entries(kinds)) {
    it.effect(`is an event of the operation that waited: ${kind}`, () =>
      Effect.gen(function* () {
        const pool = yield* PgPool.PgPool
        const clock = { nanos: 0n }
        expect(yield* observed(effect, clock)).toEqual([])
        const free = yield* Deferred.make<void>()
        yield* Effect.fork(pool.use(() => Deferred.await(free)))
        yield* eventually(pool.stats, ({ leased }) => leased === 1)
        const waiter = yield* Effect.fork(observed(effect, clock))
        yield* eventually(pool.stats, ({ waiting }) => waiting === 1)
        clock.nanos = 1_500_000_000n
        yield* Deferred.succeed(free, undefined)
        const attributes = { "db.client.connection.pool.name": "awaited", "db.client.connection.wait_time": 1.5 }
        expect(yield* Fiber.join(waiter)).toEqual([{ span, event: "connection.acquired", attributes }])
      }).pipe(Effect.provide(poolLayer({ name: "awaited", maxConnections: 1 })))
    )
  }
})
