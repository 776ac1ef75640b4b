import { PgPool } from "@checkpool/pg"
import { SqlClient } from "@effect/sql"
import { expect, layer } from "@effect/vitest"
import { Effect, Exit, Fiber, Stream } from "effect"
import { full, ordeal } from "./ordeal.ts"
import { ServerLive } from "./servers.ts"

const turns = (n: number) =>
  Effect.promise(async () => {
    for (let i = 0; i < n; i++) await new Promise(setImmediate)
  })

// The whole count takes a minute on a small machine: `ADVERSITY=full` runs it.
const count = full ? 10_000 : 1_500

layer(ServerLive, { excludeTestServices: true, timeout: "10 minutes" })("interrupts", (it) => {
  it.effect(`${count} that race the end of their statements cancel nobody else's, and mix up no answers`, () =>
    ordeal("interrupts", { maxConnections: 8 }, (watch) =>
      Effect.gen(function* () {
        const pool = yield* PgPool.PgPool
        const sql = yield* SqlClient.SqlClient
        let interrupted = 0
        let completed = 0
        let undisturbed = 0
        // They take whatever connection is free, also those that have just been interrupted.
        const bystander = (id: number) =>
          sql<{ id: number }>`SELECT ${id}::int AS id, pg_sleep(0.001)`.pipe(
            Effect.tap((rows) =>
              Effect.sync(() => {
                expect(rows[0]!.id).toBe(id)
                undisturbed++
              })
            ),
            Effect.forever
          )
        const bystanders = yield* Effect.forEach([1, 2, 3], (id) => Effect.forkScoped(bystander(id)))
        let next = 0
        const racer = Effect.gen(function* () {
          while (next < count) {
            const i = next++
            const kind = i % 4
            const fiber = yield* Effect.fork(
              kind === 0
                ? sql<{ i: number }>`SELECT ${i}::int AS i`
                : kind === 1
                  ? sql<{ i: number }>`SELECT ${i}::int AS i, pg_sleep(0.001)`
                  : kind === 2
                    ? sql.withTransaction(sql<{ i: number }>`SELECT ${i}::int AS i`)
                    : Stream.runCollect(sql<{ i: number }>`SELECT ${i}::int AS i`.stream).pipe(
                        Effect.map((rows) => [...rows])
                      )
            )
            yield* turns(Math.floor(Math.random() * 12))
            const exit = yield* Fiber.interrupt(fiber)
            if (Exit.isSuccess(exit)) {
              expect(exit.value[0]!.i).toBe(i)
              completed++
            } else {
              expect(Exit.isInterrupted(exit), String(exit)).toBe(true)
              interrupted++
            }
          }
        })
        yield* Effect.all([racer, racer, racer, racer], { concurrency: "unbounded" })
        for (const fiber of bystanders) expect(Exit.isInterrupted(yield* Fiber.interrupt(fiber))).toBe(true)
        // Both ends of the race were met.
        expect(interrupted).toBeGreaterThan(count / 20)
        expect(completed).toBeGreaterThan(count / 20)
        const stats = yield* pool.stats
        yield* watch.report({ count, interrupted, completed, undisturbed, opened: stats.opened, closed: stats.closed })
      })
    )
  )
})
