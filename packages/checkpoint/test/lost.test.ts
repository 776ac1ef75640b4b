/**
 * Answers that are lost: the server is held back in the middle of a commit, the connection goes, and the checkpointer does
 * again what may have been done.
 */
import { Checkpointer, SqlCheckpointer } from "@checkpool/checkpoint"
import { EmbeddedPostgres, TcpRelay } from "@checkpool/embedded"
import { PgPool } from "@checkpool/pg"
import { SqlClient } from "@effect/sql"
import { describe, expect, it } from "@effect/vitest"
import { Context, Effect, Fiber, Layer, Redacted, Schedule, Stream } from "effect"
import { open, Server } from "./database.ts"
import { marked, markOf } from "./groupCommit/support.ts"

const on = (url: Redacted.Redacted, schema: string) =>
  Effect.gen(function* () {
    const pool = PgPool.layer({ url, maxConnections: 4, minConnections: 0 })
    const context = yield* Layer.build(SqlCheckpointer.layer({ schema }).pipe(Layer.provideMerge(pool)))
    return {
      checkpointer: Context.get(context, Checkpointer.Checkpointer),
      sql: Context.get(context, SqlClient.SqlClient)
    }
  })

const eventually = <A, E>(look: Effect.Effect<A, E>, isSo: (a: A) => boolean) =>
  look.pipe(
    Effect.repeat({ until: isSo, schedule: Schedule.spaced("5 millis") }),
    Effect.timeoutFail({ duration: "20 seconds", onTimeout: () => new Error(`never: ${isSo}`) })
  )

/**
 * A checkpointer behind a relay, and another one with a way of its own. A commit that stores the checkpoint "2" of the
 * thread waits, before it does so, while the gate is shut; each one that did is in the table `commits`.
 */
const setting = (schema: string) =>
  Effect.gen(function* () {
    const { host, port, url } = Context.get(yield* open(Server), EmbeddedPostgres.EmbeddedPostgres)
    const relay = yield* TcpRelay.make({ target: { host, port } })
    const detour = new URL(Redacted.value(url))
    detour.host = `${relay.host}:${relay.port}`
    const other = yield* on(url, schema)
    const ours = yield* on(Redacted.make(detour.href), schema)
    const { sql } = other
    const at = sql(schema)
    yield* sql`CREATE TABLE ${at}.gate (shut int)`
    yield* sql`CREATE TABLE ${at}.commits (pid int)`
    yield* sql.unsafe(`CREATE FUNCTION "${schema}".wait() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
      LOCK TABLE "${schema}".gate IN SHARE MODE;
      INSERT INTO "${schema}".commits VALUES (pg_backend_pid());
      RETURN NULL;
    END $$`)
    yield* sql.unsafe(`CREATE CONSTRAINT TRIGGER wait AFTER INSERT OR UPDATE ON "${schema}".checkpoints
      DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (new.checkpoint_id = '2') EXECUTE FUNCTION "${schema}".wait()`)
    const waiting = sql<{
      pid: number
    }>`SELECT pid FROM pg_locks WHERE relation = ${`${schema}.gate`}::regclass AND NOT granted`
    const commits = sql<{ n: number }>`SELECT count(*)::int AS n FROM ${at}.commits`
    /** Shuts the gate for a write, and loses the connection when it has come there and this has been done. */
    const losing = <A, E, B, E2>(
      write: Effect.Effect<A, E>,
      meanwhile: (open: Effect.Effect<unknown>) => Effect.Effect<B, E2>
    ) =>
      Effect.gen(function* () {
        const [shut, over] = [yield* Effect.makeLatch(), yield* Effect.makeLatch()]
        const keeper = yield* Effect.forkScoped(
          sql.withTransaction(
            sql`LOCK TABLE ${at}.gate IN EXCLUSIVE MODE`.pipe(Effect.zipRight(shut.open), Effect.zipRight(over.await))
          )
        )
        yield* shut.await
        const writer = yield* Effect.forkScoped(write)
        yield* eventually(waiting, (rows) => rows.length === 1)
        yield* relay.blackhole
        yield* meanwhile(Effect.zipRight(over.open, Fiber.await(keeper)))
        yield* relay.cut
        yield* relay.restore
        const written = yield* Fiber.join(writer)
        return { written, commits: (yield* commits)[0]!.n }
      })
    /** Opens the gate, and waits until what had come there is committed. */
    const committed = (open: Effect.Effect<unknown>) =>
      Effect.zipRight(
        open,
        eventually(commits, ([row]) => row!.n === 1)
      )
    /** The server gives up what has come there. */
    const undone = (open: Effect.Effect<unknown>) =>
      Effect.gen(function* () {
        yield* sql`SELECT pg_terminate_backend(pid) FROM (${waiting}) AS waiting`
        yield* eventually(waiting, (rows) => rows.length === 0)
        yield* open
      })
    return { committed, losing, other: other.checkpointer, ours: ours.checkpointer, undone }
  })

const ids = (checkpointer: Checkpointer.Service, threadId: string) =>
  Effect.map(Stream.runCollect(checkpointer.list({ threadId })), (tuples) =>
    Array.from(tuples, ({ key }) => key.checkpointId)
  )

const put = (id: string) => ({ ...marked("t", id, `m${id}`), parentId: id === "1" ? undefined : `${Number(id) - 1}` })
const key = { threadId: "t", namespace: "", checkpointId: "2" }

describe("when the answer to a commit is lost,", () => {
  it.scopedLive("a put that expects a head finds itself to be it, and is done once", () =>
    Effect.gen(function* () {
      const { committed, losing, other, ours } = yield* setting("head")
      yield* ours.put(put("1"))
      const { commits, written } = yield* losing(ours.put({ ...put("2"), expectHead: "1" }), committed)
      expect([written, commits]).toEqual([key, 1])
      expect(yield* ids(other, "t")).toEqual(["2", "1"])
    })
  )

  it.scopedLive("a put that expected a head succeeds though others have gone on from it", () =>
    Effect.gen(function* () {
      const { committed, losing, other, ours } = yield* setting("gone_on")
      yield* ours.put(put("1"))
      const { commits, written } = yield* losing(ours.put({ ...put("2"), expectHead: "1" }), (open) =>
        Effect.zipRight(committed(open), other.put({ ...put("3"), expectHead: "2" }))
      )
      expect([written, commits]).toEqual([key, 1])
      expect(yield* ids(other, "t")).toEqual(["3", "2", "1"])
    })
  )

  it.scopedLive("a put that expects a head is done once, by the second attempt, if the first one was not", () =>
    Effect.gen(function* () {
      const { losing, other, ours, undone } = yield* setting("undone")
      yield* ours.put(put("1"))
      const { commits, written } = yield* losing(ours.put({ ...put("2"), expectHead: "1" }), undone)
      expect([written, commits]).toEqual([key, 1])
      expect(yield* ids(other, "t")).toEqual(["2", "1"])
      expect(yield* markOf(other, "t")).toMatchObject({ value: "m2" })
    })
  )

  it.scopedLive("a put is not too late because its parent was pruned since it was done", () =>
    Effect.gen(function* () {
      const { committed, losing, other, ours } = yield* setting("late")
      yield* ours.put(put("1"))
      const { written } = yield* losing(ours.put(put("2")), (open) =>
        Effect.zipRight(committed(open), other.prune({ threadId: "t", grace: 0 }))
      )
      expect(written).toEqual(key)
      expect(yield* ids(other, "t")).toEqual(["2"])
      expect(yield* markOf(other, "t")).toMatchObject({ value: "m2" })
    })
  )
})
