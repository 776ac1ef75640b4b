import { Checkpointer, CheckpointMetrics, Codec, SqlCheckpointer } from "@checkpool/checkpoint"
import { EmbeddedPostgres } from "@checkpool/embedded"
import { PgPool } from "@checkpool/pg"
import { SqlClient } from "@effect/sql"
import { describe, expect, it, layer } from "@effect/vitest"
import {
  Cause,
  Context,
  Deferred,
  Effect,
  Exit,
  Fiber,
  Layer,
  Metric,
  Option,
  Random,
  Scope,
  Stream,
  Tracer
} from "effect"
import { memoMap, open, pool, Server, stock } from "./database.ts"

/** A put whose parts all carry the same mark, so that what is found can be told to be whole. */
const marked = (threadId: string, id: string, mark: string, metadata: Record<string, unknown> = {}) => ({
  threadId,
  checkpoint: {
    v: 4,
    id,
    ts: mark,
    channel_values: { a: mark, b: mark },
    channel_versions: { a: mark, b: mark },
    versions_seen: {}
  },
  metadata: { mark, ...metadata },
  newVersions: { a: mark, b: mark }
})

/** The mark of a thread's checkpoint, if it is whole; of the latest one without an id. */
const markOf = (checkpointer: Checkpointer.Service, threadId: string, checkpointId?: string) =>
  Effect.map(
    checkpointer.get({ threadId, checkpointId }),
    Option.map(({ checkpoint: { channel_values, ts }, metadata }) => {
      expect([channel_values.a, channel_values.b, metadata.mark]).toEqual([ts, ts, ts])
      return ts
    })
  )

/** A checkpointer of the test's own over the client at hand, and the statements that it sends. */
const observed = (options: SqlCheckpointer.Options = {}) =>
  Effect.gen(function* () {
    const spans: Array<Tracer.Span> = []
    const native = yield* Effect.tracer
    const tracer = Tracer.make({
      ...native,
      span: (...parameters) => {
        const span = native.span(...parameters)
        spans.push(span)
        return span
      }
    })
    const services = yield* Effect.withTracer(Layer.build(SqlCheckpointer.layer(options)), tracer)
    spans.length = 0
    return { checkpointer: Context.get(services, Checkpointer.Checkpointer), spans, tracer }
  })

const inParallel = { concurrency: "unbounded" } as const

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

/** A pool with a single connection, for which nobody waits long. */
const narrow = Layer.unwrapEffect(
  Effect.map(EmbeddedPostgres.EmbeddedPostgres, ({ url }) =>
    PgPool.layer({ url, maxConnections: 1, minConnections: 0, acquireTimeout: 20 })
  )
).pipe(Layer.provide(Server))

describe("group commit on a pool of one connection that somebody else holds", () => {
  /** Holds the connection until the effect has ended. */
  const besides = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const held = yield* Deferred.make<void>()
      const over = yield* Deferred.make<void>()
      const holder = yield* Effect.fork(
        sql.withTransaction(Effect.zipRight(Deferred.succeed(held, undefined), Deferred.await(over)))
      )
      yield* Deferred.await(held)
      return yield* Effect.ensuring(
        effect,
        Effect.zipRight(Deferred.succeed(over, undefined), Effect.orDie(Fiber.join(holder)))
      )
    })

  const puts = (checkpointer: Checkpointer.Service, threadId: string) =>
    Effect.forEach(
      Array.from({ length: 20 }, (_, i) => i),
      (i) => Effect.exit(checkpointer.put(marked(threadId, `${100 + i}`, `m${i}`))),
      inParallel
    )

  it.scopedLive("waits until there is one, much longer than the pool does", () =>
    Effect.gen(function* () {
      const client = yield* open(narrow)
      const exits = yield* Effect.gen(function* () {
        const { checkpointer } = yield* observed()
        const single = yield* observed({ groupCommit: false })
        // Lent much longer than a caller of the pool may wait: those without group commit notice.
        const writers = yield* besides(
          Effect.gen(function* () {
            const writers = yield* Effect.fork(puts(checkpointer, "absorbed"))
            const exits = yield* puts(single.checkpointer, "turned away")
            expect(exits.filter(Exit.isSuccess)).toEqual([])
            return writers
          })
        )
        return yield* Fiber.join(writers)
      }).pipe(Effect.provide(client))
      expect(exits.filter(Exit.isFailure)).toEqual([])
    })
  )

  it.scopedLive("gives up at the timeout and says why, and turns away what there is no room for", () =>
    Effect.gen(function* () {
      const client = yield* open(narrow)
      const exits = yield* Effect.gen(function* () {
        const { checkpointer } = yield* observed({ groupCommit: { timeout: 200, maxQueued: 10 } })
        return yield* besides(puts(checkpointer, "timeout"))
      }).pipe(Effect.provide(client))
      const errors = exits.map((exit) =>
        Option.getOrThrow(Exit.causeOption(exit)).pipe(Cause.squash)
      ) as ReadonlyArray<Checkpointer.OperationError>
      const overloaded = errors.filter(({ _tag }) => _tag === "CheckpointerOverloaded")
      expect(overloaded.length).toBe(10)
      expect(overloaded[0]).toMatchObject({ operation: "put", reason: "QueueFull", queued: 10, waited: 0 })
      expect(overloaded[0]!.message).toMatch(/^Checkpointer\.put was turned away: 10 operations/)
      for (const error of errors) {
        if (error._tag !== "CheckpointerError") continue
        expect(PgPool.poolError(error.cause)).toMatchObject({ _tag: "AcquireTimeout" })
      }
    })
  )
})

layer(stock(), { memoMap, timeout: "60 seconds" })("the spans of group commit", (it) => {
  it.scoped("show a lone write's statement below the write, and a batch's once, linked with all of its writes", () =>
    Effect.gen(function* () {
      const { spans, tracer } = yield* observed()
      // Not within the tracer, as in an app that makes the two side by side: the callers' tracer gets the spans all the same.
      const services = yield* Layer.build(SqlCheckpointer.layer({ groupCommit: { maxInFlight: 1 } }))
      const checkpointer = Context.get(services, Checkpointer.Checkpointer)
      yield* Effect.gen(function* () {
        yield* checkpointer.put(marked("spans", "1", "m"))
        yield* Effect.forEach(["2", "3", "4"], (id) => checkpointer.put(marked("spans", id, "m")), inParallel)
      }).pipe(Effect.withSpan("app"), Effect.withTracer(tracer))
      const named = (name: string) => spans.filter((span) => span.name === name)
      const [lone, ...together] = named("Checkpointer.put")
      const parentOf = (span: Tracer.Span | undefined) => Option.getOrUndefined(span!.parent)?.spanId
      expect(lone!.attributes.get("checkpoint.batch")).toBe(1)
      expect(together.map((span) => span.attributes.get("checkpoint.batch"))).toEqual([3, 3, 3])
      const [flush] = named("Checkpointer.flush")
      expect(flush!.attributes.get("checkpoint.batch")).toBe(3)
      expect([parentOf(flush), ...flush!.links.map(({ span }) => span.spanId)]).toEqual(
        together.map(({ spanId }) => spanId)
      )
      expect(named("sql.execute").map(parentOf)).toEqual([lone!.spanId, flush!.spanId])
    })
  )
})

describe("the statements in flight", () => {
  /** How many there are while none of them can get on. */
  const mostOn = (client: Layer.Layer<SqlClient.SqlClient, unknown>, options?: SqlCheckpointer.GroupCommitOptions) =>
    Effect.gen(function* () {
      const outside = yield* Effect.provide(SqlClient.SqlClient, yield* open(stock()))
      const sql = yield* Effect.provide(SqlClient.SqlClient, yield* open(client))
      const { checkpointer } = yield* Effect.provideService(
        observed({ schema: "in flight", groupCommit: options }),
        SqlClient.SqlClient,
        sql
      )
      const blocked = outside<{ n: number }>`SELECT count(*)::int AS n FROM pg_stat_activity
        WHERE wait_event_type = 'Lock' AND query LIKE '%in flight%checkpoint_blobs%'`
      const held = yield* Deferred.make<void>()
      const over = yield* Deferred.make<void>()
      const holder = yield* Effect.fork(
        outside.withTransaction(
          outside`LOCK TABLE ${outside("in flight")}.checkpoint_blobs`.pipe(
            Effect.zipRight(Deferred.succeed(held, undefined)),
            Effect.zipRight(Deferred.await(over))
          )
        )
      )
      yield* Deferred.await(held)
      const puts = yield* Effect.fork(
        Effect.forEach(
          Array.from({ length: 40 }, (_, i) => i),
          (i) => checkpointer.put(marked(`t${i}`, "1", "m")),
          inParallel
        )
      )
      const gauge = () => Effect.map(Metric.value(CheckpointMetrics.inFlight), ({ value }) => value)
      const inFlight = yield* Effect.repeat(Effect.zip(gauge(), blocked), {
        until: ([inFlight, rows]) => inFlight > 0 && rows[0]!.n === inFlight
      })
      yield* Deferred.succeed(over, undefined)
      yield* Fiber.join(holder)
      yield* Fiber.join(puts)
      return inFlight[0]
    })

  it.scoped("are three, but at most half of the client's connections, unless you say so", () =>
    Effect.gen(function* () {
      expect(yield* mostOn(stock())).toBe(3)
      expect(yield* mostOn(stock({ maxConnections: 4 }))).toBe(2)
      expect(yield* mostOn(stock({ maxConnections: 1 }))).toBe(1)
      expect(yield* mostOn(poolOf(5))).toBe(2)
      expect(yield* mostOn(poolOf(5), { maxInFlight: 4 })).toBe(4)
    })
  )
})

const poolOf = (maxConnections: number) =>
  Layer.unwrapEffect(
    Effect.map(EmbeddedPostgres.EmbeddedPostgres, ({ url }) => PgPool.layer({ url, maxConnections, minConnections: 1 }))
  ).pipe(Layer.provide(Server))

layer(stock(), { memoMap })("an option of group commit that can't work", (it) => {
  it.scoped("is refused by its name", () =>
    Effect.gen(function* () {
      const exit = yield* Effect.exit(observed({ groupCommit: { maxInFlight: 0 } }))
      expect(String(Cause.squash(Option.getOrThrow(Exit.causeOption(exit))))).toContain("groupCommit.maxInFlight is 0")
    })
  )
})
