/**
 * One database for LangGraph's own saver and for ours: whoever comes first, the tables are right for both, and each reads
 * what the other has written.
 */
import { Checkpointer, SqlCheckpointer } from "@checkpool/checkpoint"
import { EmbeddedPostgres } from "@checkpool/embedded"
import { SqlClient } from "@effect/sql"
import { expect, layer } from "@effect/vitest"
import type { Checkpoint as StockCheckpoint } from "@langchain/langgraph-checkpoint"
import { PostgresSaver } from "@langchain/langgraph-checkpoint-postgres"
import { Effect, Layer, Option, Redacted, Stream } from "effect"
import { memoMap, Server, stock } from "./database.ts"

const stockSaver = (schema: string) =>
  Effect.acquireRelease(
    Effect.map(EmbeddedPostgres.EmbeddedPostgres, ({ url }) =>
      PostgresSaver.fromConnString(Redacted.value(url), { schema })
    ),
    (saver) => Effect.promise(() => saver.end())
  )

const ours = (schema: string) =>
  Effect.map(Layer.build(Layer.fresh(SqlCheckpointer.layer({ schema }))), (context) =>
    Effect.provide(Checkpointer.Checkpointer, context)
  ).pipe(Effect.flatten)

const versions = (schema: string) =>
  Effect.flatMap(SqlClient.SqlClient, (sql) =>
    Effect.map(sql`SELECT v FROM ${sql(schema)}.checkpoint_migrations ORDER BY v`, (rows) => rows.map(({ v }) => v))
  )

const fields = (id: string, values: Record<string, unknown>, versions: Record<string, number>) => ({
  v: 4,
  id,
  ts: "2026-01-02T03:04:05.678Z",
  channel_values: values,
  channel_versions: versions,
  versions_seen: { agent: { messages: 1 } }
})

const config = (checkpoint_id?: string) => ({
  configurable: { thread_id: "t", checkpoint_ns: "inner", ...(checkpoint_id !== undefined && { checkpoint_id }) }
})

/** Each writes one checkpoint of a thread, with a value that the next one shares, and both read both. */
const takeTurns = Effect.fnUntraced(function* (saver: PostgresSaver, checkpointer: Checkpointer.Service) {
  const first = fields(
    "1",
    { messages: ["hi"], kept: { a: [1, null] }, raw: Uint8Array.of(1, 2) },
    { messages: 1, kept: 1, raw: 1 }
  )
  const second = fields("2", { ...first.channel_values, messages: ["hi", "ho"] }, { messages: 2, kept: 1, raw: 1 })
  const third = fields("3", { ...first.channel_values, messages: ["hi", "ho", "!"] }, { messages: 3, kept: 1, raw: 1 })
  const metadata = { source: "loop", step: 1, parents: {} } as const
  yield* Effect.promise(() => saver.put(config(), first as StockCheckpoint, metadata, first.channel_versions))
  yield* Effect.promise(() =>
    saver.putWrites(
      config("1"),
      [
        ["messages", "ho"],
        ["__interrupt__", [{ value: "?" }]]
      ],
      "task"
    )
  )
  const inner = { threadId: "t", namespace: "inner" }
  const key = yield* checkpointer.put({
    ...inner,
    parentId: "1",
    checkpoint: second,
    metadata,
    newVersions: { messages: 2 }
  })
  yield* checkpointer.putWrites({
    ...key,
    taskId: "task",
    taskPath: "~",
    writes: [{ channel: "messages", value: "!" }]
  })
  yield* Effect.promise(() => saver.put(config("2"), third as StockCheckpoint, metadata, { messages: 3 }))

  for (const [id, expected, writes] of [
    [
      "1",
      first,
      [
        ["task", "__interrupt__", [{ value: "?" }]],
        ["task", "messages", "ho"]
      ]
    ],
    ["2", second, [["task", "messages", "!"]]],
    ["3", third, []]
  ] as const) {
    const tuple = Option.getOrThrow(yield* checkpointer.get({ ...inner, checkpointId: id }))
    expect(tuple).toMatchObject({ checkpoint: expected, metadata })
    expect(tuple.pendingWrites.map(({ channel, taskId, value }) => [taskId, channel, value])).toEqual(writes)
    const theirs = yield* Effect.promise(() => saver.getTuple(config(id)))
    // They give a Buffer for bytes.
    const values = theirs!.checkpoint.channel_values
    expect({
      ...theirs!.checkpoint,
      channel_values: { ...values, raw: Uint8Array.from(values.raw as Uint8Array) }
    }).toEqual(expected)
    expect(theirs!.metadata).toEqual(metadata)
    // Their order of writes is theirs.
    expect(new Set(theirs!.pendingWrites!.map((write) => JSON.stringify(write)))).toEqual(
      new Set(writes.map((write) => JSON.stringify(write)))
    )
  }
  const listed = yield* Effect.promise(async () => {
    const ids: Array<string> = []
    for await (const { checkpoint } of saver.list(config())) ids.push(checkpoint.id)
    return ids
  })
  expect(Array.from(yield* Stream.runCollect(checkpointer.list(inner)), ({ key }) => key.checkpointId)).toEqual(listed)
  yield* checkpointer.deleteThread("t")
  expect(yield* Effect.promise(() => saver.getTuple(config()))).toBe(undefined)
})

const all = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]

layer(Layer.merge(stock({ maxConnections: 20 }), Server), { memoMap, timeout: "60 seconds" })(
  "LangGraph's saver and this one on one database",
  (it) => {
    it.scoped("get along when theirs was there first", () =>
      Effect.gen(function* () {
        const saver = yield* stockSaver("theirs first")
        yield* Effect.promise(() => saver.setup())
        expect(yield* versions("theirs first")).toEqual([0, 1, 2, 3, 4])
        yield* takeTurns(saver, yield* ours("theirs first"))
        expect(yield* versions("theirs first")).toEqual(all)
        yield* Effect.promise(() => saver.setup())
        expect(yield* versions("theirs first")).toEqual(all)
      })
    )

    it.scoped("get along when this one was there first", () =>
      Effect.gen(function* () {
        const checkpointer = yield* ours("ours first")
        const saver = yield* stockSaver("ours first")
        yield* Effect.promise(() => saver.setup())
        expect(yield* versions("ours first")).toEqual(all)
        yield* takeTurns(saver, checkpointer)
      })
    )

    it.scoped("get along when both come at the same moment, again and again", () =>
      Effect.gen(function* () {
        for (let n = 0; n < 10; n++) {
          const schema = `both ${n}`
          const saver = yield* stockSaver(schema)
          const [theirs, checkpointer] = yield* Effect.all(
            [Effect.exit(Effect.tryPromise(() => saver.setup())), ours(schema)],
            { concurrency: "unbounded" }
          )
          // Theirs may have lost the race, as it does against itself; then it is called again. Ours never does.
          if (theirs._tag === "Failure") yield* Effect.promise(() => saver.setup())
          expect(yield* versions(schema)).toEqual(all)
          yield* takeTurns(saver, checkpointer)
        }
      })
    )
  }
)
