/** Locks of threads on a server: between processes, around transactions, over connections that break. */
import { spawn } from "node:child_process"
import { once } from "node:events"
import { fileURLToPath } from "node:url"
import { Checkpoint, Checkpointer, SqlCheckpointer, ThreadLock } from "@checkpool/checkpoint"
import { EmbeddedPostgres, TcpRelay } from "@checkpool/embedded"
import { PgPool } from "@checkpool/pg"
import { SqlClient } from "@effect/sql"
import { describe, expect, it } from "@effect/vitest"
import { Context, Deferred, Duration, Effect, Fiber, Layer, Logger, LogLevel, Redacted, Schedule } from "effect"
import { open, Server, stock } from "./database.ts"
import { marked, markOf, observed } from "./groupCommit/support.ts"

const build = <E>(client: Layer.Layer<SqlClient.SqlClient, E>, options?: SqlCheckpointer.Options) =>
  Effect.map(Layer.build(SqlCheckpointer.layer(options).pipe(Layer.provideMerge(client))), (context) => ({
    checkpointer: Context.get(context, Checkpointer.Checkpointer),
    sql: Context.get(context, SqlClient.SqlClient)
  }))

const server = Effect.map(open(Server), (context) => Context.get(context, EmbeddedPostgres.EmbeddedPostgres))

/** A pool and a checkpointer of its own, as another process has them. */
const worker = Effect.flatMap(server, ({ url }) => build(PgPool.layer({ url })))

/** Failures that a test brings about are nothing to tell of. */
const silently = Logger.withMinimumLogLevel(LogLevel.None)

const token = Effect.map(ThreadLock.Lease, ({ token }) => token)

const brief = { lease: "1 millis" } as const

/** So that a brief lease is not renewed. */
const standingStill = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.flatMap(Effect.clock, (clock) => {
    const sleep = (duration: Duration.Duration) =>
      Duration.toMillis(duration) < 1 ? Effect.never : clock.sleep(duration)
    return Effect.withClock(effect, Object.assign(Object.create(clock), { sleep }))
  })

const until = <E, R>(condition: Effect.Effect<boolean, E, R>) =>
  condition.pipe(
    Effect.repeat({ until: (is) => is, schedule: Schedule.spaced("5 millis") }),
    Effect.timeoutFail({ duration: "20 seconds", onTimeout: () => new Error("It doesn't come to that") })
  )

describe("the lock of a thread on a server", () => {
  it.scopedLive("is not given to others before what its last holder has written is committed", () =>
    Effect.gen(function* () {
      const [one, other] = [yield* worker, yield* worker]
      const threadId = yield* Checkpoint.makeId
      const [written, over] = [yield* Deferred.make<void>(), yield* Deferred.make<void>()]
      const holder = yield* one.checkpointer
        .withThreadLock(
          threadId,
          one.sql.withTransaction(
            Effect.gen(function* () {
              yield* one.checkpointer.put(marked(threadId, "1", "in time"))
              yield* Deferred.succeed(written, undefined)
              yield* Deferred.await(over)
            })
          ),
          brief
        )
        .pipe(standingStill, Effect.fork)
      yield* Effect.raceFirst(Deferred.await(written), Fiber.join(holder))
      // Its lease is over, and nobody waits in the server for its transaction.
      yield* until(
        Effect.map(
          Effect.flip(other.checkpointer.withThreadLock(threadId, Effect.void)),
          (error) =>
            error._tag === "ThreadLocked" && error.expiresIn === 0 && error.message.includes("still on its way")
        )
      )
      const next = yield* Effect.fork(
        other.checkpointer.withThreadLock(threadId, markOf(other.checkpointer, threadId), { wait: "20 seconds" })
      )
      yield* Deferred.succeed(over, undefined)
      yield* Fiber.join(holder)
      expect(yield* Fiber.join(next)).toMatchObject({ value: "in time" })
    })
  )

  it.scopedLive(
    "is lost to a transaction, too, that writes after it was taken over: nothing of that is committed",
    () =>
      Effect.gen(function* () {
        const [one, other] = [yield* worker, yield* worker]
        const threadId = yield* Checkpoint.makeId
        for (const isolation of ["READ COMMITTED", "REPEATABLE READ"]) {
          const [begun, goOn] = [yield* Deferred.make<void>(), yield* Deferred.make<void>()]
          const write = Effect.gen(function* () {
            yield* one.sql.unsafe(`SET TRANSACTION ISOLATION LEVEL ${isolation}`)
            // The snapshot of a stricter transaction is of now.
            yield* one.checkpointer.put(marked(`${threadId} other`, "1", "x"))
            yield* Deferred.succeed(begun, undefined)
            yield* Deferred.await(goOn)
            yield* one.checkpointer.put(marked(threadId, "1", "too late"))
          })
          const holder = yield* one.checkpointer
            .withThreadLock(threadId, one.sql.withTransaction(write), brief)
            .pipe(standingStill, Effect.fork)
          yield* Effect.raceFirst(Deferred.await(begun), Fiber.join(holder))
          yield* other.checkpointer.withThreadLock(threadId, Effect.void, { wait: "20 seconds" })
          yield* Deferred.succeed(goOn, undefined)
          const exit = yield* Fiber.await(holder)
          // A snapshot that is older than the takeover is a conflict to the server.
          expect(String(exit)).toContain(isolation === "READ COMMITTED" ? "LeaseLost" : '"40001"')
          for (const id of [threadId, `${threadId} other`]) {
            expect(yield* markOf(other.checkpointer, id)).toMatchObject({ _tag: "None" })
          }
        }
      })
  )

  it.scopedLive("is renewed while a transaction is open that has written under it", () =>
    Effect.gen(function* () {
      const { checkpointer, sql } = yield* worker
      const threadId = yield* Checkpoint.makeId
      const ends = Effect.map(
        sql<{
          ends: string
        }>`SELECT expires_at::text AS ends FROM checkpool_thread_locks WHERE thread_id = ${threadId}`,
        ([row]) => row!.ends
      )
      yield* checkpointer.withThreadLock(
        threadId,
        sql.withTransaction(
          Effect.gen(function* () {
            yield* checkpointer.put(marked(threadId, "1", "x"))
            const first = yield* ends
            yield* until(Effect.map(ends, (now) => now > first))
            yield* checkpointer.put(marked(threadId, "2", "x"))
          })
        ),
        { lease: "3 seconds" }
      )
      expect(yield* markOf(checkpointer, threadId)).toMatchObject({ value: "x" })
    })
  )

  it.scopedLive("is not taken in a transaction, which would not see what the last holder has done", () =>
    Effect.gen(function* () {
      const { checkpointer, sql } = yield* worker
      const threadId = yield* Checkpoint.makeId
      const error = yield* Effect.flip(sql.withTransaction(checkpointer.withThreadLock(threadId, Effect.void)))
      expect(error).toMatchObject({ _tag: "CheckpointerError", operation: "withThreadLock" })
      expect(error.message).toContain("Take the lock first")
      // Under a lock that is there already, it may be asked for again.
      const again = sql.withTransaction(checkpointer.withThreadLock(threadId, Effect.succeed("again")))
      expect(yield* checkpointer.withThreadLock(threadId, again)).toBe("again")
    })
  )

  it.scopedLive("is one statement more for its taking and one for its end; what writes under it is one as ever", () =>
    Effect.gen(function* () {
      yield* Effect.provide(
        Effect.gen(function* () {
          const { checkpointer, spans, tracer } = yield* observed()
          const statements = () => spans.filter(({ name }) => name === "sql.execute").length
          const threadId = yield* Checkpoint.makeId
          const one = marked(threadId, "1", "x")
          const writes = [{ channel: "w", value: 1 }]
          const counts: Array<number> = []
          yield* checkpointer
            .withThreadLock(
              threadId,
              Effect.gen(function* () {
                counts.push(statements())
                yield* checkpointer.put(one)
                counts.push(statements())
                yield* checkpointer.putWrites({ threadId, checkpointId: "1", taskId: "t", writes })
                counts.push(statements())
                yield* checkpointer.commit({ ...one, writes: [{ taskId: "u", writes }] })
                counts.push(statements())
              })
            )
            .pipe(Effect.withTracer(tracer), Effect.withSpan("parent"))
          expect([...counts, statements()]).toEqual([1, 2, 3, 4, 5])
        }),
        yield* open(stock())
      )
    })
  )

  it.scopedLive("lets in one after the other where transactions are serializable by default", () =>
    Effect.gen(function* () {
      const strict = yield* build(stock({ settings: { default_transaction_isolation: "serializable" } }))
      const threadId = yield* Checkpoint.makeId
      const { checkpointer } = strict
      let inside = 0
      const enter = Effect.gen(function* () {
        expect(++inside).toBe(1)
        yield* checkpointer.put(marked(threadId, "1", "x"))
        inside--
      })
      yield* Effect.replicateEffect(checkpointer.withThreadLock(threadId, enter, { wait: "20 seconds" }), 3, {
        concurrency: "unbounded"
      })
    })
  )

  it.scopedLive("is lost to a holder that is cut off, which is told so in time, and the next one gets it", () =>
    Effect.gen(function* () {
      const { url } = yield* server
      const address = new URL(Redacted.value(url))
      const relay = yield* TcpRelay.make({ target: { host: address.hostname, port: Number(address.port) } })
      address.hostname = relay.host
      address.port = String(relay.port)
      const cutOff = yield* build(PgPool.layer({ url: Redacted.make(address.href) }))
      const other = yield* worker
      const threadId = yield* Checkpoint.makeId
      let interrupted = false
      const entered = yield* Deferred.make<number>()
      const holder = yield* cutOff.checkpointer
        .withThreadLock(
          threadId,
          Effect.zipRight(
            Effect.flatMap(token, (token) => Deferred.succeed(entered, token)),
            Effect.onInterrupt(Effect.never, () => Effect.sync(() => (interrupted = true)))
          ),
          { lease: "600 millis" }
        )
        .pipe(silently, Effect.flip, Effect.fork)
      const first = yield* Effect.raceFirst(Deferred.await(entered), Effect.zipRight(Fiber.join(holder), Effect.never))
      yield* relay.blackhole
      const error = yield* Effect.timeout(Fiber.join(holder), "20 seconds")
      expect(error).toMatchObject({ _tag: "LeaseLost", threadId, token: first, reason: "NotRenewed" })
      expect(interrupted).toBe(true)
      const next = yield* other.checkpointer.withThreadLock(threadId, token, { wait: "20 seconds" })
      expect(next).toBeGreaterThan(first)
      yield* relay.restore
    })
  )

  it.scopedLive("is there for others when its holder's process was killed and its lease is over", () =>
    Effect.gen(function* () {
      const { url } = yield* server
      const { checkpointer } = yield* worker
      const threadId = yield* Checkpoint.makeId
      const holder = yield* Effect.acquireRelease(
        Effect.sync(() =>
          spawn(process.execPath, [fileURLToPath(new URL("./fixtures/holder.mjs", import.meta.url))], {
            env: { ...process.env, LOCK_URL: Redacted.value(url), LOCK_THREAD: threadId },
            stdio: ["ignore", "pipe", "inherit"]
          })
        ),
        (child) => Effect.sync(() => child.kill("SIGKILL"))
      )
      const [first] = yield* Effect.promise(() => once(holder.stdout, "data"))
      expect(yield* Effect.flip(checkpointer.withThreadLock(threadId, Effect.void))).toMatchObject({
        _tag: "ThreadLocked",
        holder: "the one that is killed"
      })
      holder.kill("SIGKILL")
      const next = yield* checkpointer.withThreadLock(threadId, token, { wait: "20 seconds" })
      expect(next).toBeGreaterThan(Number(String(first)))
    })
  )

  it.scopedLive("leaves a row behind, so that tokens grow, which others remove when it is a week old", () =>
    Effect.gen(function* () {
      const { checkpointer, sql } = yield* worker
      const prefix = yield* Checkpoint.makeId
      const lock = (name: string) => checkpointer.withThreadLock(`${prefix} ${name}`, token)
      const names = Effect.map(
        sql<{
          thread_id: string
        }>`SELECT thread_id FROM checkpool_thread_locks WHERE thread_id LIKE ${`${prefix}%`} ORDER BY 1`,
        (rows) => rows.map(({ thread_id }) => thread_id.slice(prefix.length + 1))
      )
      const age = (name: string, interval: string) =>
        sql`UPDATE checkpool_thread_locks SET expires_at = now() - ${interval}::interval WHERE thread_id = ${`${prefix} ${name}`}`
      const first = yield* lock("a")
      yield* lock("b")
      yield* age("a", "169 hours")
      yield* age("b", "167 hours")
      expect(yield* names).toEqual(["a", "b"])
      yield* lock("c")
      expect(yield* names).toEqual(["b", "c"])
      expect(yield* lock("a")).toBeGreaterThan(first)
    })
  )
})
