import { PgPool } from "@checkpool/pg"
import { SqlClient, type SqlError } from "@effect/sql"
import { expect, layer } from "@effect/vitest"
import { Deferred, Effect, Fiber, Stream } from "effect"
import { eventually } from "./eventually.ts"
import { answers } from "./onRelay.ts"
import { ordeal } from "./ordeal.ts"
import { ServerLive } from "./servers.ts"

layer(ServerLive, { excludeTestServices: true, timeout: "60 seconds" })("what is given up", (it) => {
  it.scoped(
    "streams that are interrupted while the server works leave none of it working, and never exceed the maximum",
    () =>
      ordeal("interrupted streams", { maxConnections: 2 }, (watch) =>
        Effect.gen(function* () {
          const sql = yield* SqlClient.SqlClient
          for (let i = 0; i < 20; i++) {
            const fiber = yield* Effect.fork(Stream.runDrain(sql`SELECT pg_sleep(3600)`.stream))
            yield* eventually(watch.outside.running("SELECT pg_sleep(3600"), (n) => n > 0)
            yield* Fiber.interrupt(fiber)
            yield* Effect.all([answers, answers], { concurrency: 2 })
          }
          yield* eventually(watch.outside.running("SELECT pg_sleep(3600"), (n) => n === 0)
          yield* watch.report({ failures: 0 })
        })
      )
  )

  it.scoped("a stream that the server ends between two reads: its reader may leave, and nothing is left", () =>
    ordeal("ended between reads", { maxConnections: 1, torn: 1 }, (watch) =>
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        const pool = yield* PgPool.PgPool
        // The end of the connection comes with the server's last words, or somewhat later.
        for (let round = 1; round <= 10; round++) {
          const rows = yield* sql`SELECT generate_series(1, 1000) AS n`.stream.pipe(
            Stream.tap(() => watch.outside.terminateAll),
            Stream.take(1),
            Stream.runCollect
          )
          expect(rows.length).toBe(1)
          yield* answers
          expect(yield* pool.stats).toMatchObject({ opened: round + 1, closed: round })
        }
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
