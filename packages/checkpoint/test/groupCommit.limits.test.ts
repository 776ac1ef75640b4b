import { Checkpointer, CheckpointMetrics, SqlCheckpointer } from "@checkpool/checkpoint"
import { EmbeddedPostgres } from "@checkpool/embedded"
import { PgPool } from "@checkpool/pg"
import { SqlClient } from "@effect/sql"
import { describe, expect, it, layer } from "@effect/vitest"
import { Cause, Context, Deferred, Effect, Exit, Fiber, Layer, Metric, Option, type Tracer } from "effect"
import { memoMap, open, Server, stock } from "./database.ts"
import { inParallel, marked, observed } from "./groupCommit/support.ts"

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
