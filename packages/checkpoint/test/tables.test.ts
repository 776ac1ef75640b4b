import { type Checkpoint, Checkpointer, SqlCheckpointer } from "@checkpool/checkpoint"
import { SqlClient } from "@effect/sql"
import { SqlError } from "@effect/sql/SqlError"
import { assert, expect, layer } from "@effect/vitest"
import { Context, Effect, Layer, Option, Tracer } from "effect"
import { memoMap, open, stock } from "./database.ts"

const checkpoint = (id: string, fields: Partial<Checkpoint.Checkpoint> = {}): Checkpoint.Checkpoint => ({
  v: 4,
  id,
  ts: "2026-01-02T03:04:05.678Z",
  channel_values: { a: 1, b: 2 },
  channel_versions: { a: 1, b: 1 },
  versions_seen: {},
  ...fields
})

const put = (threadId: string, id = "1", metadata: Checkpoint.Metadata = {}) =>
  Effect.flatMap(Checkpointer.Checkpointer, (checkpointer) =>
    checkpointer.put({ threadId, checkpoint: checkpoint(id), metadata, newVersions: { a: 1, b: 1 } })
  )

// All that is stored of a thread.
const rows = (threadId: string) =>
  Effect.flatMap(SqlClient.SqlClient, (sql) =>
    Effect.all({
      checkpoints: sql`SELECT * FROM checkpoints WHERE thread_id = ${threadId}`,
      blobs: sql`SELECT * FROM checkpoint_blobs WHERE thread_id = ${threadId} ORDER BY channel COLLATE "C"`,
      writes: sql`SELECT * FROM checkpoint_writes WHERE thread_id = ${threadId} ORDER BY idx`
    })
  )

const nothing = { checkpoints: [], blobs: [], writes: [] }

const live = (target: Parameters<typeof stock>[0] = {}) =>
  SqlCheckpointer.layer().pipe(Layer.provideMerge(stock(target)))

layer(live(), { memoMap, timeout: "60 seconds" })("the tables of SqlCheckpointer", (it) => {
  it.effect("hold a checkpoint in LangGraph's format", () =>
    Effect.gen(function* () {
      const checkpointer = yield* Checkpointer.Checkpointer
      yield* checkpointer.put({
        threadId: "format",
        namespace: "inner",
        parentId: "0",
        checkpoint: checkpoint("1", {
          channel_values: { map: new Map([["k", undefined]]), bytes: Buffer.from("raw"), inline: [1], text: "é\0" },
          channel_versions: { map: 2, bytes: 1.5, text: "0001.5", gone: 3 },
          versions_seen: { node: { map: 2 } }
        }),
        metadata: { source: "loop", step: 1 },
        newVersions: { map: 2, bytes: 1.5, text: "0001.5", gone: 3 }
      })
      const key = { thread_id: "format", checkpoint_ns: "inner" }
      const stored = yield* rows("format")
      expect(stored.checkpoints).toEqual([
        {
          ...key,
          checkpoint_id: "1",
          parent_checkpoint_id: "0",
          type: null,
          checkpoint: {
            v: 4,
            id: "1",
            ts: "2026-01-02T03:04:05.678Z",
            channel_versions: { map: 2, bytes: 1.5, text: "0001.5", gone: 3 },
            versions_seen: { node: { map: 2 } },
            channel_values: { inline: [1] }
          },
          metadata: { source: "loop", step: 1 }
        }
      ])
      const map =
        '{"lc":2,"type":"constructor","id":["Map"],"method":null,"args":[[["k",{"lc":2,"type":"undefined"}]]],"kwargs":{}}'
      expect(stored.blobs).toEqual([
        { ...key, channel: "bytes", version: "1.5", type: "bytes", blob: Buffer.from("raw") },
        { ...key, channel: "gone", version: "3", type: "empty", blob: null },
        { ...key, channel: "map", version: "2", type: "json", blob: Buffer.from(map) },
        { ...key, channel: "text", version: "0001.5", type: "json", blob: Buffer.from('"é\\u0000"') }
      ])
    })
  )

  it.effect("hold no channel values in the checkpoint's row if all channels have versions", () =>
    Effect.gen(function* () {
      yield* put("plain")
      const { checkpoints } = yield* rows("plain")
      expect(Object.keys((checkpoints[0] as { checkpoint: object }).checkpoint)).not.toContain("channel_values")
    })
  )

  it.effect("hold writes in LangGraph's format", () =>
    Effect.gen(function* () {
      const checkpointer = yield* Checkpointer.Checkpointer
      const writes = [
        { channel: "__interrupt__", value: [{ value: "why?" }] },
        { channel: "a", value: Uint8Array.of(7) }
      ]
      yield* checkpointer.putWrites({ threadId: "writes", checkpointId: "1", taskId: "t", taskPath: "~p", writes })
      const key = { thread_id: "writes", checkpoint_ns: "", checkpoint_id: "1", task_id: "t", task_path: "~p" }
      expect((yield* rows("writes")).writes).toEqual([
        { ...key, idx: -3, channel: "__interrupt__", type: "json", blob: Buffer.from('[{"value":"why?"}]') },
        { ...key, idx: 1, channel: "a", type: "bytes", blob: Buffer.of(7) }
      ])
    })
  )

  it.effect("show others legible metadata where JSONB can't hold it exactly", () =>
    Effect.gen(function* () {
      yield* put("legible", "1", { name: "a\0b", step: -0 })
      const { checkpoints } = yield* rows("legible")
      expect(checkpoints[0]).toMatchObject({
        metadata: { name: "a\uFFFDb", step: 0, __checkpool_exact: '{"name":"a\\u0000b","step":-0}' }
      })
    })
  )

  it.effect("keep what another program wrote into such metadata later", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      yield* put("changed", "1", { name: "a\0b" })
      yield* sql`UPDATE checkpoints SET metadata = metadata || '{"name": "new"}' WHERE thread_id = 'changed'`
      const found = yield* Effect.flatMap(Checkpointer.Checkpointer, (_) => _.get({ threadId: "changed" }))
      expect(Option.getOrThrow(found).metadata).toEqual({ name: "new" })
    })
  )

  it.effect("give rows of the Python saver as far as they are JSON, and name what is not", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const checkpointer = yield* Checkpointer.Checkpointer
      const version = "00000000000000000000000000000002.0.4243"
      const stored = {
        v: 4,
        id: "1",
        ts: "now",
        channel_values: { count: 3, name: "inline" },
        channel_versions: { count: version, name: version, messages: version },
        versions_seen: {},
        updated_channels: ["count"]
      }
      yield* sql`INSERT INTO checkpoints ${sql.insert({
        thread_id: "python",
        checkpoint_id: "1",
        checkpoint: JSON.stringify(stored),
        metadata: "{}"
      })}`
      const found = Option.getOrThrow(yield* checkpointer.get({ threadId: "python" }))
      expect(found.checkpoint).toEqual(stored)
      yield* sql`INSERT INTO checkpoint_blobs ${sql.insert({
        thread_id: "python",
        channel: "messages",
        version,
        type: "msgpack",
        blob: Buffer.of(0x90)
      })}`
      const error = yield* Effect.flip(checkpointer.get({ threadId: "python" }))
      expect(error).toMatchObject({ _tag: "SerializationError", operation: "decode", channel: "messages" })
      expect(error.message).toContain("msgpack")
    })
  )

  it.effect("hold all of a put or nothing, whichever part of it is refused", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      yield* sql`ALTER TABLE checkpoints ADD CONSTRAINT c CHECK (thread_id <> 'refused checkpoint')`
      yield* sql`ALTER TABLE checkpoint_blobs ADD CONSTRAINT c CHECK (thread_id <> 'refused blob' OR channel <> 'b')`
      for (const threadId of ["refused checkpoint", "refused blob"]) {
        const error = yield* Effect.flip(put(threadId))
        assert(error._tag === "CheckpointerError" && error.cause instanceof SqlError)
        expect(error).toMatchObject({ operation: "put", cause: { cause: { code: "23514" } } })
        expect(error.message).toContain("violates check constraint")
        expect(yield* rows(threadId)).toEqual(nothing)
      }
    })
  )

  it.scoped("hold nothing of a put that ran out of time while it waited for another one", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const hurried = yield* open(live({ settings: { statement_timeout: "200" } }))
      const first = { thread_id: "timeout", checkpoint_id: "1", checkpoint: "{}" }
      const error = yield* Effect.gen(function* () {
        // The blobs go in, then the checkpoint has to wait for the fate of this row.
        yield* sql`INSERT INTO checkpoints ${sql.insert(first)}`
        // The hurried put must not take part in this transaction, though it is called from within it.
        const apart = Effect.mapInputContext(put("timeout"), (all: Context.Context<Checkpointer.Checkpointer>) =>
          Context.pick(Checkpointer.Checkpointer)(all)
        )
        const error = yield* Effect.flip(Effect.provide(apart, hurried))
        return yield* Effect.fail(error)
      }).pipe(sql.withTransaction, Effect.flip)
      expect(error).toMatchObject({ _tag: "CheckpointerError", cause: { cause: { code: "57014" } } })
      expect(yield* rows("timeout")).toEqual(nothing)
    })
  )

  it.effect("get a put together with the caller's transaction, or not at all", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const inside = yield* Effect.gen(function* () {
        yield* put("transaction")
        return yield* Effect.fail(
          Option.isSome(yield* Effect.flatMap(Checkpointer.Checkpointer, (_) => _.get({ threadId: "transaction" })))
        )
      }).pipe(sql.withTransaction, Effect.flip)
      expect(inside).toBe(true)
      expect(yield* rows("transaction")).toEqual(nothing)
      yield* sql.withTransaction(put("transaction"))
      expect((yield* rows("transaction")).checkpoints).toHaveLength(1)
    })
  )

  it.effect("remember deletions for seven days, and forget older ones when others are added", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const { deleteThread } = yield* Checkpointer.Checkpointer
      const remembered = () =>
        Effect.map(
          sql`SELECT thread_id, last_checkpoint_id FROM checkpool_deleted_threads WHERE thread_id LIKE 'age %' ORDER BY 1`,
          (rows) => rows.map(({ last_checkpoint_id, thread_id }) => [thread_id, last_checkpoint_id])
        )
      const age = (thread: string, interval: string) =>
        sql`UPDATE checkpool_deleted_threads SET deleted_at = now() - ${interval}::interval WHERE thread_id = ${thread}`
      yield* put("age 1", "1")
      yield* put("age 1", "\uFFFD")
      yield* put("age 1", "\u{1F388}")
      yield* put("age 2", "2")
      yield* deleteThread("age 1")
      yield* deleteThread("age 2")
      yield* deleteThread("age never there")
      expect(yield* remembered()).toEqual([
        ["age 1", "\u{1F388}"],
        ["age 2", "2"]
      ])
      yield* age("age 1", "169 hours")
      yield* age("age 2", "167 hours")
      yield* deleteThread("age never there")
      expect(yield* remembered()).toEqual([["age 2", "2"]])
    })
  )

  it.scoped("are reached with one statement for each put, write, commit and get", () =>
    Effect.gen(function* () {
      const names: Array<string> = []
      const native = yield* Effect.tracer
      const tracer = Tracer.make({
        ...native,
        span: (...parameters) => {
          names.push(parameters[0])
          return native.span(...parameters)
        }
      })
      // Group commit sends from fibers of its own, which have the tracer that it was built with.
      const services = yield* Effect.withTracer(Layer.build(SqlCheckpointer.layer({ setup: "none" })), tracer)
      names.length = 0
      const checkpointer = Context.get(services, Checkpointer.Checkpointer)
      yield* Effect.all([
        Effect.provide(put("statements"), services),
        checkpointer.putWrites({
          threadId: "statements",
          checkpointId: "1",
          taskId: "t",
          writes: ["a", "b", "c"].map((channel) => ({ channel, value: channel }))
        }),
        checkpointer.putWrites({ threadId: "statements", checkpointId: "1", taskId: "t", writes: [] }),
        checkpointer.get({ threadId: "statements" }),
        checkpointer.commit({
          threadId: "statements",
          checkpoint: checkpoint("2"),
          metadata: {},
          newVersions: { a: 1, b: 1 },
          writes: ["t", "u"].map((taskId) => ({ taskId, writes: [{ channel: "a", value: taskId }] }))
        })
      ]).pipe(Effect.withTracer(tracer))
      expect(names).toEqual(Array.from({ length: 4 }, () => "sql.execute"))
    })
  )
})
