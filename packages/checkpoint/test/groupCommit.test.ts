import { randomBytes } from "node:crypto"
import { type Checkpointer, Codec } from "@checkpool/checkpoint"
import { SqlClient } from "@effect/sql"
import { expect, layer } from "@effect/vitest"
import { Cause, Deferred, Effect, Exit, Fiber, type Layer, Option, Random, Scope, Stream } from "effect"
import { memoMap, pool, stock } from "./database.ts"
import { inParallel, marked, markOf, observed } from "./groupCommit/support.ts"

const suite = <E>(name: string, client: Layer.Layer<SqlClient.SqlClient, E>) =>
  layer(client, { memoMap, timeout: "60 seconds" })(`group commit on ${name}`, (it) => {
    it.scoped("stores all that 200 writers put into 20 threads, in order, in fewer statements", () =>
      Effect.gen(function* () {
        const { checkpointer, spans } = yield* observed()
        yield* Effect.forEach(
          Array.from({ length: 200 }, (_, i) => i),
          (i) =>
            Effect.gen(function* () {
              const threadId = `${name} ${i % 20}`
              // All writers of a thread put this one.
              yield* checkpointer.put(marked(threadId, "shared", String(i)))
              yield* checkpointer.put(marked(threadId, `own ${i}`, `own ${i}`))
              const writes = [{ channel: "w", value: i }]
              yield* checkpointer.putWrites({ threadId, checkpointId: `own ${i}`, taskId: "t", writes })
            }),
          inParallel
        )
        expect(spans.length).toBeLessThan(200)
        for (let i = 0; i < 200; i++) {
          const threadId = `${name} ${i % 20}`
          expect(yield* markOf(checkpointer, threadId, `own ${i}`)).toEqual(Option.some(`own ${i}`))
          const { pendingWrites } = Option.getOrThrow(yield* checkpointer.get({ threadId, checkpointId: `own ${i}` }))
          expect(pendingWrites.map(({ value }) => value)).toEqual([i])
          // The last one that was asked for.
          expect(yield* markOf(checkpointer, threadId, "shared")).toEqual(Option.some(String(180 + (i % 20))))
        }
      })
    )

    it.scoped("stores large values whole, while those of others are on their way", () =>
      Effect.gen(function* () {
        const { checkpointer } = yield* observed({ groupCommit: { maxInFlight: 3 } })
        // Random, so that none looks like another one, however it is shifted.
        const values = Array.from({ length: 60 }, () => randomBytes(100_000))
        const put = (i: number) =>
          checkpointer.put({
            threadId: `large ${name} ${i % 12}`,
            checkpoint: {
              ...marked("", `checkpoint ${i}`, "").checkpoint,
              channel_values: { a: values[i] },
              channel_versions: { a: i }
            },
            metadata: {},
            newVersions: { a: i }
          })
        yield* Effect.forEach(values.keys(), put, inParallel)
        for (const [i, value] of values.entries()) {
          const found = yield* checkpointer.get({
            threadId: `large ${name} ${i % 12}`,
            checkpointId: `checkpoint ${i}`
          })
          const { a } = Option.getOrThrow(found).checkpoint.channel_values
          expect(value.equals(a as Uint8Array)).toBe(true)
        }
      })
    )

    it.scoped("deletes a thread after all that was asked for before it and before all that is asked for later", () =>
      Effect.gen(function* () {
        const { checkpointer } = yield* observed()
        const threads = Array.from({ length: 20 }, (_, i) => `barrier ${name} ${i}`)
        yield* Effect.forEach(
          threads,
          (threadId) => {
            const writes = [{ channel: "w", value: 1 }]
            const operations: ReadonlyArray<Effect.Effect<unknown, Checkpointer.OperationError>> = [
              checkpointer.put(marked(threadId, "1", "before")),
              checkpointer.putWrites({ threadId, checkpointId: "1", taskId: "t", writes }),
              checkpointer.put({ ...marked(threadId, "1", "before"), namespace: "inner" }),
              checkpointer.deleteThread(threadId),
              checkpointer.put(marked(threadId, "1", "after"))
            ]
            return Effect.all(operations, inParallel)
          },
          inParallel
        )
        for (const threadId of threads) {
          expect(yield* markOf(checkpointer, threadId)).toEqual(Option.some("after"))
          const found = yield* Stream.runCollect(checkpointer.list({ threadId }))
          expect(Array.from(found, ({ pendingWrites }) => pendingWrites)).toEqual([[]])
        }
      })
    )

    it.scoped("refuses what continues a deleted thread, alone, whatever it was sent with", () =>
      Effect.gen(function* () {
        const { checkpointer } = yield* observed()
        const threads = Array.from({ length: 12 }, (_, i) => `late ${name} ${i}`)
        yield* Effect.forEach(threads, (threadId) => checkpointer.put(marked(threadId, "1", "old")), inParallel)
        const isLate = (i: number) => i % 4 === 0
        yield* Effect.forEach(
          threads.filter((_, i) => isLate(i)),
          checkpointer.deleteThread
        )
        const exits = yield* Effect.forEach(
          threads,
          (threadId) => Effect.exit(checkpointer.put({ ...marked(threadId, "2", "new"), parentId: "1" })),
          inParallel
        )
        for (const [i, threadId] of threads.entries()) {
          expect(yield* markOf(checkpointer, threadId)).toEqual(isLate(i) ? Option.none() : Option.some("new"))
          const error = Option.flatMap(Exit.causeOption(exits[i]!), Cause.failureOption)
          expect(Option.getOrUndefined(error)?._tag).toBe(isLate(i) ? "ThreadDeleted" : undefined)
        }
        const sql = yield* SqlClient.SqlClient
        const late = checkpointer.put({ ...marked(threads[0]!, "2", "new"), parentId: "1" })
        const error = yield* Effect.flip(sql.withTransaction(late))
        expect(error).toMatchObject({ _tag: "ThreadDeleted", operation: "put", threadId: threads[0] })
      })
    )

    it.scoped("lets bad operations fail alone, whoever refuses them, and their successors succeed", () =>
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        const schema = `bad on ${name}`
        // Writes the type "json\0", which no check of ours sees, for values that say so.
        const codec: Codec.Service = {
          ...Codec.json,
          encode: (value, at) =>
            Effect.map(Codec.json.encode(value, at), (encoded) =>
              value === "nul" ? { ...encoded, type: "json\0" } : encoded
            )
        }
        const { checkpointer } = yield* observed({ schema }).pipe(Effect.provideService(Codec.Codec, codec))
        yield* sql`ALTER TABLE ${sql(schema)}.checkpoints ADD CONSTRAINT bad CHECK (NOT metadata ? 'bad')`
        const exits = yield* Effect.forEach(
          Array.from({ length: 60 }, (_, i) => i),
          (i) =>
            Effect.exit(
              checkpointer.put(
                marked(`t${i % 7}`, `${100 + i}`, i === 31 ? "nul" : `m${i}`, i === 17 || i === 18 ? { bad: 1 } : {})
              )
            ),
          inParallel
        )
        const failed = exits.flatMap((exit, i) =>
          Exit.isSuccess(exit) ? [] : [[i, Option.getOrThrow(Cause.failureOption(exit.cause))] as const]
        )
        expect(failed).toMatchObject([
          [17, { _tag: "CheckpointerError", operation: "put", cause: { cause: { code: "23514" } } }],
          [18, { _tag: "CheckpointerError", operation: "put", cause: { cause: { code: "23514" } } }],
          [31, { _tag: "CheckpointerError", operation: "put", cause: { cause: { code: "22021" } } }]
        ])
        for (let i = 0; i < 60; i++) {
          const stored = yield* markOf(checkpointer, `t${i % 7}`, `${100 + i}`)
          expect(stored).toEqual([17, 18, 31].includes(i) ? Option.none() : Option.some(`m${i}`))
        }
        expect(
          yield* sql`SELECT * FROM ${sql(schema)}.checkpoint_blobs WHERE version IN ('m17', 'm18', 'nul')`
        ).toEqual([])
      })
    )

    it.scoped("touches no neighbour of a caller who is interrupted", () =>
      Effect.gen(function* () {
        const { checkpointer } = yield* observed({ groupCommit: { maxInFlight: 1, maxBatch: 8 } })
        const fibers = yield* Effect.forEach(
          Array.from({ length: 100 }, (_, i) => i),
          (i) => Effect.fork(checkpointer.put(marked(`interrupt ${name} ${i % 9}`, `${100 + i}`, `m${i}`)))
        )
        // While some are in flight and others wait.
        yield* Fiber.join(fibers[1]!)
        const gone = fibers.filter((_, i) => i % 3 === 0)
        yield* Fiber.interruptAll(gone)
        for (let i = 0; i < 100; i++) {
          if (i % 3 === 0) continue
          yield* Fiber.join(fibers[i]!)
          expect(yield* markOf(checkpointer, `interrupt ${name} ${i % 9}`, `${100 + i}`)).toEqual(Option.some(`m${i}`))
        }
        const exits = yield* Effect.forEach(gone, Fiber.await)
        expect(exits.some((exit) => Exit.isFailure(exit) && Cause.isInterruptedOnly(exit.cause))).toBe(true)
      })
    )

    it.scoped("never shows half of a put", () =>
      Effect.gen(function* () {
        const { checkpointer } = yield* observed()
        const threads = [0, 1, 2, 3, 4].map((i) => `whole ${name} ${i}`)
        const reader = yield* Effect.fork(
          Effect.forever(Effect.forEach(threads, (threadId) => markOf(checkpointer, threadId), inParallel))
        )
        yield* Effect.forEach(
          Array.from({ length: 300 }, (_, i) => i),
          (i) => checkpointer.put(marked(threads[i % 5]!, `${1000 + i}`, `m${i}`)),
          inParallel
        )
        expect(reader.unsafePoll()).toBe(null)
        yield* Fiber.interrupt(reader)
      })
    )

    it.scoped("goes into the caller's transaction, and only what is called within it", () =>
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        const { checkpointer } = yield* observed()
        const within = `within ${name}`
        const outside = `outside ${name}`
        const untouched = `untouched ${name}`
        yield* checkpointer.put(marked(untouched, "1", "m"))
        const inside = yield* Deferred.make<void>()
        const done = yield* Deferred.make<void>()
        const transaction = yield* Effect.gen(function* () {
          yield* checkpointer.put(marked(within, "1", "m"))
          yield* checkpointer.putWrites({
            threadId: within,
            checkpointId: "1",
            taskId: "t",
            writes: [{ channel: "w", value: 1 }]
          })
          expect(yield* markOf(checkpointer, within)).toEqual(Option.some("m"))
          yield* checkpointer.commit({
            ...marked(within, "2", "c"),
            writes: [{ taskId: "t", writes: [{ channel: "w", value: 2 }] }]
          })
          yield* checkpointer.deleteThread(untouched)
          expect(yield* markOf(checkpointer, untouched)).toEqual(Option.none())
          yield* Deferred.succeed(inside, undefined)
          yield* Deferred.await(done)
          return yield* Effect.fail("rolled back")
        }).pipe(sql.withTransaction, Effect.flip, Effect.fork)
        yield* Deferred.await(inside)
        yield* checkpointer.put(marked(outside, "1", "m"))
        expect(yield* markOf(checkpointer, within)).toEqual(Option.none())
        yield* Deferred.succeed(done, undefined)
        expect(yield* Fiber.join(transaction)).toBe("rolled back")
        expect(yield* markOf(checkpointer, within)).toEqual(Option.none())
        expect(yield* sql`SELECT * FROM checkpoint_writes WHERE thread_id = ${within}`).toEqual([])
        expect(yield* markOf(checkpointer, outside)).toEqual(Option.some("m"))
        expect(yield* markOf(checkpointer, untouched)).toEqual(Option.some("m"))
      })
    )

    it.scoped("does not see a transaction that it is built in", () =>
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        const threadId = `built in ${name}`
        const { checkpointer } = yield* observed({ setup: "none" }).pipe(sql.withTransaction)
        yield* checkpointer.put(marked(threadId, "1", "m"))
        expect(yield* markOf(checkpointer, threadId)).toEqual(Option.some("m"))
      })
    )

    it.scoped("works for two on one database, who write the same rows in any order", () =>
      Effect.gen(function* () {
        const both = [yield* observed(), yield* observed()]
        const threads = Array.from({ length: 12 }, (_, i) => `two ${name} ${i}`)
        yield* Effect.forEach(
          both,
          ({ checkpointer }) =>
            Effect.flatMap(Random.shuffle([...threads, ...threads, ...threads]), (shuffled) =>
              Effect.forEach(
                shuffled,
                (threadId) =>
                  Effect.all([
                    checkpointer.put(marked(threadId, "1", "m")),
                    checkpointer.putWrites({
                      threadId,
                      checkpointId: "1",
                      taskId: "t",
                      writes: [
                        { channel: "__error__", value: "e" },
                        { channel: "w", value: "w" }
                      ]
                    })
                  ]),
                inParallel
              )
            ),
          inParallel
        )
        for (const threadId of threads) {
          expect(yield* markOf(both[0]!.checkpointer, threadId)).toEqual(Option.some("m"))
        }
      })
    )

    it.scoped("stores what is queued before its scope has closed", () =>
      Effect.gen(function* () {
        const scope = yield* Scope.make()
        const { checkpointer } = yield* Scope.extend(observed({ groupCommit: { maxInFlight: 1, maxBatch: 4 } }), scope)
        const fibers = yield* Effect.forEach([0, 1, 2, 3, 4, 5, 6, 7, 8, 9], (i) =>
          Effect.fork(checkpointer.put(marked(`end ${name}`, String(i), `m${i}`)))
        )
        yield* Fiber.join(fibers[0]!)
        yield* Scope.close(scope, Exit.void)
        yield* Effect.forEach(fibers, Fiber.join)
        for (let i = 0; i < 10; i++) {
          expect(yield* markOf(checkpointer, `end ${name}`, String(i))).toEqual(Option.some(`m${i}`))
        }
        const error = yield* Effect.flip(checkpointer.put(marked(`end ${name}`, "10", "m")))
        expect(error.message).toContain("closed")
      })
    )

    it.scoped("goes on when connections are lost, without its callers' noticing", () =>
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        const { checkpointer } = yield* observed()
        const writers = yield* Effect.fork(
          Effect.forEach(
            Array.from({ length: 30 }, (_, i) => i),
            (i) =>
              Effect.forEach([0, 1, 2, 3, 4, 5, 6, 7, 8, 9], (n) =>
                checkpointer.put(marked(`lost ${name} ${i}`, String(n), `m${n}`))
              ),
            inParallel
          )
        )
        const kill = sql`SELECT pg_terminate_backend(pid) FROM pg_stat_activity
          WHERE pid <> pg_backend_pid() AND query LIKE '%checkpoint_blobs%'`
        let killed = 0
        while (killed < 3 && writers.unsafePoll() === null) killed += (yield* kill).length
        expect(killed).toBeGreaterThan(0)
        yield* Fiber.join(writers)
        for (let i = 0; i < 30; i++) {
          expect(yield* markOf(checkpointer, `lost ${name} ${i}`)).toEqual(Option.some("m9"))
        }
      })
    )
  })

suite("stock sql-pg", stock())
suite("our pool", pool)
