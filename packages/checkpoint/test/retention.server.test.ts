import { Checkpoint, Checkpointer, Retention, SqlCheckpointer } from "@checkpool/checkpoint"
import { EmbeddedPostgres } from "@checkpool/embedded"
import { PgPool } from "@checkpool/pg"
import { SqlClient } from "@effect/sql"
import { describe, expect, it } from "@effect/vitest"
import { Context, Deferred, Effect, Fiber, Layer, Logger, LogLevel, Schedule, Stream } from "effect"
import { open, Server } from "./database.ts"

/** A pool and a checkpointer of its own, as another process has them. */
const worker = (options: Omit<Parameters<typeof PgPool.layer>[0], "url"> = {}) =>
  Effect.gen(function* () {
    const { url } = Context.get(yield* open(Server), EmbeddedPostgres.EmbeddedPostgres)
    const context = yield* Layer.build(
      SqlCheckpointer.layer().pipe(Layer.provideMerge(PgPool.layer({ url, ...options })))
    )
    return {
      checkpointer: Context.get(context, Checkpointer.Checkpointer),
      sql: Context.get(context, SqlClient.SqlClient)
    }
  })

/** Threads of three checkpoints each. Passes look at these alone. */
const fill = (sql: SqlClient.SqlClient, threads: number) =>
  Effect.gen(function* () {
    const prefix = yield* Checkpoint.makeId
    yield* sql`INSERT INTO checkpoints (thread_id, checkpoint_id, parent_checkpoint_id, checkpoint)
      SELECT ${prefix} || '-' || lpad(t::text, 4, '0'), i::text, nullif(i - 1, 0)::text,
        jsonb_build_object('v', 4, 'id', i::text, 'ts', '2026-01-02T03:04:05.678Z', 'channel_versions', jsonb_build_object('a', i))
      FROM generate_series(1, ${threads}::int) t, generate_series(1, 3) i`
    yield* sql`INSERT INTO checkpoint_blobs (thread_id, channel, version, type, blob)
      SELECT ${prefix} || '-' || lpad(t::text, 4, '0'), 'a', i::text, 'json', '1'
      FROM generate_series(1, ${threads}::int) t, generate_series(1, 3) i`
    const id = (n: number) => `${prefix}-${String(n).padStart(4, "0")}`
    return { id, range: { after: prefix, before: `${prefix}-9999` } }
  })

const policy = { prune: {} } as const

/** Failures that a test brings about are nothing to tell of. */
const silently = Logger.withMinimumLogLevel(LogLevel.None)

const idsOf = (checkpointer: Checkpointer.Service, threadId: string) =>
  Effect.map(Stream.runCollect(checkpointer.list({ threadId })), (tuples) =>
    Array.from(tuples, ({ key }) => key.checkpointId)
  )

/** Until somebody waits for a thread's lock. */
const somebodyWaits = (sql: SqlClient.SqlClient) =>
  sql<{
    waiting: boolean
  }>`SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted) AS waiting`.pipe(
    Effect.repeat({ until: ([row]) => row?.waiting === true, schedule: Schedule.spaced("5 millis") }),
    Effect.timeout("20 seconds")
  )

/** Runs something while a transaction holds what it has taken. */
const whileHeld = <A, E, E2>(
  sql: SqlClient.SqlClient,
  take: Effect.Effect<unknown, E>,
  during: (end: Effect.Effect<void>) => Effect.Effect<A, E2>
) =>
  Effect.gen(function* () {
    const [taken, over] = [yield* Deferred.make<void>(), yield* Deferred.make<void>()]
    const holder = yield* Effect.fork(
      sql.withTransaction(
        Effect.zipRight(take, Effect.zipRight(Deferred.succeed(taken, undefined), Deferred.await(over)))
      )
    )
    yield* Effect.raceFirst(Deferred.await(taken), Effect.zipRight(Fiber.join(holder), Effect.never))
    const end = Effect.zipRight(Deferred.succeed(over, undefined), Effect.asVoid(Fiber.await(holder)))
    return yield* Effect.ensuring(during(end), end)
  })

describe("retention on a server", () => {
  it.scopedLive("is shared by workers: each thread is done once, by one of them", () =>
    Effect.gen(function* () {
      const workers = [yield* worker(), yield* worker(), yield* worker()]
      const { id, range } = yield* fill(workers[0]!.sql, 200)
      const reports = yield* Effect.forEach(
        workers,
        ({ checkpointer }) => checkpointer.retain({ policy, ...range, every: "1 hour" }),
        { concurrency: "unbounded" }
      )
      const sum = (key: "threads" | "pruned" | "checkpoints" | "failed") =>
        reports.reduce((sum, report) => sum + report[key], 0)
      expect(["threads", "pruned", "checkpoints", "failed"].map((key) => sum(key as "threads"))).toEqual([
        200, 200, 400, 0
      ])
      for (const n of [1, 77, 200]) expect(yield* idsOf(workers[0]!.checkpointer, id(n))).toEqual(["3"])
    })
  )

  it.scopedLive("passes over what another worker is about to claim, without waiting for it", () =>
    Effect.gen(function* () {
      const [one, other] = [yield* worker(), yield* worker()]
      const { id, range } = yield* fill(one.sql, 6)
      // They are known, and nobody's.
      yield* one.checkpointer.retain({ policy: {}, ...range })
      const claims = other.sql`SELECT FROM checkpool_retention WHERE thread_id < ${id(4)} AND thread_id > ${range.after} FOR UPDATE`
      const report = yield* whileHeld(other.sql, claims, () =>
        Effect.timeout(one.checkpointer.retain({ policy, ...range }), "20 seconds")
      )
      expect(report).toMatchObject({ ended: "Complete", threads: 3, pruned: 3 })
      expect(yield* idsOf(one.checkpointer, id(3))).toEqual(["3", "2", "1"])
      expect(yield* one.checkpointer.retain({ policy, ...range })).toMatchObject({ threads: 6, pruned: 3 })
    })
  )

  it.scopedLive("leaves the threads that another worker is at to it, until it is done or its lease ends", () =>
    Effect.gen(function* () {
      const [one, other] = [yield* worker(), yield* worker()]
      const { id, range } = yield* fill(one.sql, 3)
      const lock = other.checkpointer.forkAt({ threadId: id(1), checkpointId: "3" })
      yield* whileHeld(other.sql, lock, (end) =>
        Effect.gen(function* () {
          // It has claimed all three and waits for the first.
          const first = yield* Effect.fork(one.checkpointer.retain({ policy, ...range }))
          yield* somebodyWaits(other.sql)
          expect(yield* other.checkpointer.retain({ policy, ...range })).toMatchObject({
            ended: "Complete",
            threads: 0
          })
          yield* other.sql`UPDATE checkpool_retention SET leased_until = now() WHERE thread_id = ${id(3)}`
          expect(yield* other.checkpointer.retain({ policy, ...range })).toMatchObject({ threads: 1, pruned: 1 })
          yield* end
          expect(yield* Fiber.join(first)).toMatchObject({ ended: "Complete", threads: 3, pruned: 2 })
        })
      )
    })
  )

  it.scopedLive("that is interrupted deals whole with the thread that it is at, and gives back the others", () =>
    Effect.gen(function* () {
      const [one, other] = [yield* worker(), yield* worker()]
      const { id, range } = yield* fill(one.sql, 3)
      const lock = other.checkpointer.forkAt({ threadId: id(1), checkpointId: "3", id: "4" })
      yield* whileHeld(other.sql, lock, (end) =>
        Effect.gen(function* () {
          const pass = yield* Effect.fork(
            one.checkpointer.retain({ policy, ...range, batchSize: 1, grace: 0, stopWithin: "30 seconds" })
          )
          yield* somebodyWaits(other.sql)
          const interrupt = yield* Effect.fork(Fiber.interrupt(pass))
          yield* Effect.yieldNow()
          yield* end
          yield* Fiber.join(interrupt)
        })
      )
      // Of the three older ones each went in a transaction of its own.
      expect(yield* idsOf(one.checkpointer, id(1))).toEqual(["4"])
      for (const n of [2, 3]) expect(yield* idsOf(one.checkpointer, id(n))).toEqual(["3", "2", "1"])
      expect(yield* other.checkpointer.retain({ policy, ...range, every: "1 hour" })).toMatchObject({ pruned: 2 })
    })
  )

  it.scopedLive("that is interrupted does not wait for ever for a thread that somebody holds", () =>
    Effect.gen(function* () {
      const [one, other] = [yield* worker(), yield* worker()]
      const { id, range } = yield* fill(one.sql, 2)
      const lock = other.checkpointer.forkAt({ threadId: id(1), checkpointId: "3" })
      yield* whileHeld(other.sql, lock, () =>
        Effect.gen(function* () {
          const pass = yield* Effect.fork(one.checkpointer.retain({ policy, ...range, stopWithin: "100 millis" }))
          yield* somebodyWaits(other.sql)
          yield* Effect.timeout(Fiber.interrupt(pass), "20 seconds")
        })
      )
      // What had been sent may still have been done; both threads were given back.
      expect(yield* other.checkpointer.retain({ policy, ...range, every: "1 hour" })).toMatchObject({ threads: 2 })
      for (const n of [1, 2]) expect(yield* idsOf(one.checkpointer, id(n))).toHaveLength(1)
    })
  )

  it.scopedLive("does not delete a thread that somebody goes on with at the last moment", () =>
    Effect.gen(function* () {
      const [one, other] = [yield* worker(), yield* worker()]
      const { id, range } = yield* fill(one.sql, 2)
      // Under the thread's lock, and of today.
      const goOn = other.checkpointer.forkAt({ threadId: id(1), checkpointId: "3" })
      const report = yield* whileHeld(other.sql, goOn, (end) =>
        Effect.gen(function* () {
          const pass = yield* Effect.fork(one.checkpointer.retain({ policy: { expireAfter: "1 hour" }, ...range }))
          yield* somebodyWaits(other.sql)
          yield* end
          return yield* Fiber.join(pass)
        })
      )
      expect(report).toMatchObject({ threads: 2, deleted: 1 })
      expect(yield* idsOf(one.checkpointer, id(1))).toHaveLength(4)
      expect(yield* idsOf(one.checkpointer, id(2))).toEqual([])
    })
  )

  /** Checkpoint 4, of now: it goes on from the third, brings nothing along, and names its value. */
  const goingOn = (checkpointer: Checkpointer.Service, threadId: string) =>
    Effect.gen(function* () {
      const [third] = yield* Stream.runCollect(checkpointer.list({ threadId, limit: 1 }))
      const checkpoint = { ...third!.checkpoint, id: "4", ts: new Date().toISOString() }
      return checkpointer.put({ threadId, parentId: "3", checkpoint, metadata: {}, newVersions: {} })
    })

  /** The value of that, if it is all that is there of the thread, and its value stays when the grace of all values is over. */
  const valueOfFourth = (
    { checkpointer, sql }: Effect.Effect.Success<ReturnType<typeof worker>>,
    range: object,
    threadId: string
  ) =>
    Effect.gen(function* () {
      expect(yield* idsOf(checkpointer, threadId)).toEqual(["4"])
      yield* sql`UPDATE checkpool_retired_values SET retired_at = retired_at - interval '1 hour'`
      expect(yield* checkpointer.retain({ policy: { expireAfter: "1 hour" }, ...range })).toMatchObject({
        deleted: 0,
        values: 2
      })
      const [fourth] = yield* Stream.runCollect(checkpointer.list({ threadId }))
      return fourth!.checkpoint.channel_values
    })

  it.scopedLive("that deletes a thread while a put is on its way leaves that put its value", () =>
    Effect.gen(function* () {
      const [one, other] = [yield* worker(), yield* worker()]
      const { id, range } = yield* fill(one.sql, 1)
      const policy = { expireAfter: "1 hour" } as const
      // It has seen its parent, and nobody sees it yet.
      const report = yield* whileHeld(other.sql, yield* goingOn(other.checkpointer, id(1)), () =>
        one.checkpointer.retain({ policy, ...range })
      )
      expect(report).toMatchObject({ ended: "Complete", deleted: 1, checkpoints: 3, values: 0, waiting: 3 })
      expect(yield* valueOfFourth(one, range, id(1))).toEqual({ a: 1 })
    })
  )

  it.scopedLive("leaves its value to a put that comes before the deletion of its thread is committed", () =>
    Effect.gen(function* () {
      const [one, other] = [yield* worker(), yield* worker()]
      const { id, range } = yield* fill(one.sql, 1)
      const policy = { expireAfter: "1 hour" } as const
      const put = yield* goingOn(other.checkpointer, id(1))
      // It still sees its parent.
      yield* whileHeld(one.sql, one.checkpointer.retain({ policy, ...range }), () => put)
      expect(yield* valueOfFourth(one, range, id(1))).toEqual({ a: 1 })
    })
  )

  it.scopedLive("goes on with the others when one thread can't be dealt with, and says which", () =>
    Effect.gen(function* () {
      const { checkpointer, sql } = yield* worker()
      const { id, range } = yield* fill(sql, 5)
      yield* sql`CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'not this one'; END $$`
      yield* sql.unsafe(
        `CREATE TRIGGER keep BEFORE DELETE ON checkpoints FOR EACH ROW WHEN (old.thread_id = '${id(2)}') EXECUTE FUNCTION keep()`
      )
      const report = yield* silently(checkpointer.retain({ policy, ...range }))
      yield* sql`DROP FUNCTION keep CASCADE`
      expect(report).toMatchObject({ ended: "Complete", threads: 5, pruned: 4, failed: 1 })
      expect(report.failures.map(({ error, threadId }) => [threadId, error._tag])).toEqual([
        [id(2), "CheckpointerError"]
      ])
    })
  )

  it.scopedLive("skips a pass when the pool has no connection for it", () =>
    Effect.gen(function* () {
      const { checkpointer, sql } = yield* worker({ maxConnections: 1, minConnections: 0, acquireTimeout: 20 })
      const { range } = yield* fill(sql, 2)
      const report = yield* whileHeld(sql, sql`SELECT 1`, () => checkpointer.retain({ policy, ...range }))
      expect(report).toMatchObject({ ended: "Saturated", threads: 0, failed: 0 })
      expect(yield* checkpointer.retain({ policy, ...range })).toMatchObject({ ended: "Complete", pruned: 2 })
    })
  )

  it.scopedLive("goes on after a restart of the server", () =>
    Effect.gen(function* () {
      const { checkpointer, sql } = yield* worker()
      const server = Context.get(yield* open(Server), EmbeddedPostgres.EmbeddedPostgres)
      const { id, range } = yield* fill(sql, 2)
      const reports: Array<Retention.Report> = []
      yield* silently(
        Layer.build(
          Retention.layer({
            policy,
            ...range,
            every: 0,
            schedule: Schedule.spaced("20 millis"),
            onReport: (report) => Effect.sync(() => reports.push(report))
          }).pipe(Layer.provide(Layer.succeed(Checkpointer.Checkpointer, checkpointer)))
        )
      )
      const until = (isSo: () => boolean) =>
        Effect.timeout(
          Effect.repeat(Effect.sync(isSo), { until: (so) => so, schedule: Schedule.spaced("5 millis") }),
          "30 seconds"
        )
      yield* until(() => reports.some(({ pruned }) => pruned === 2))
      yield* server.restart({ mode: "immediate" })
      yield* checkpointer.forkAt({ threadId: id(1), checkpointId: "3" })
      reports.length = 0
      yield* until(() => reports.some(({ pruned }) => pruned === 1))
    })
  )
})
