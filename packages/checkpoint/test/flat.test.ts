import { Checkpointer, SqlCheckpointer } from "@checkpool/checkpoint"
import { EmbeddedPostgres } from "@checkpool/embedded"
import { PgPool } from "@checkpool/pg"
import { SqlClient } from "@effect/sql"
import { describe, expect, layer } from "@effect/vitest"
import { Chunk, Effect, Layer, Option, Stream, Tracer } from "effect"
import { linguistic, memoMap, Server, stock } from "./database.ts"

// The server's own count of the rows that this session has fetched of late.
const rowsFetched = Effect.flatMap(SqlClient.SqlClient, (sql) =>
  Effect.map(
    sql<{ relname: string; rows: number }>`
      SELECT relname, (coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0))::int AS rows
      FROM pg_stat_xact_user_tables`,
    (tables) => Object.fromEntries(tables.map(({ relname, rows }) => [relname, rows]))
  )
)

const fetchedBy = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.gen(function* () {
    const sql = yield* SqlClient.SqlClient
    const [before, result, after] = yield* sql.withTransaction(Effect.all([rowsFetched, effect, rowsFetched]))
    const fetched = (table: string) => (after[table] ?? 0) - (before[table] ?? 0)
    return [
      result,
      { checkpoints: fetched("checkpoints"), blobs: fetched("checkpoint_blobs"), writes: fetched("checkpoint_writes") }
    ] as const
  })

/** A thread of 3,000 checkpoints, each with a new value of "a", the value of "b" of the one before, and a write. */
const insertLong = (threadId: string) =>
  Effect.gen(function* () {
    const sql = yield* SqlClient.SqlClient
    yield* sql`INSERT INTO checkpoints (thread_id, checkpoint_id, parent_checkpoint_id, checkpoint)
      SELECT ${threadId}, lpad(i::text, 6, '0'), lpad((i - 1)::text, 6, '0'),
        jsonb_build_object('v', 4, 'channel_versions', jsonb_build_object('a', i, 'b', (i + 1) / 2))
      FROM generate_series(1, 3000) i`
    yield* sql`INSERT INTO checkpoint_blobs (thread_id, channel, version, type, blob)
      SELECT ${threadId}, channel, i::text, 'json', i::text::bytea
      FROM generate_series(1, 3000) i, unnest('{a,b}'::text[]) channel WHERE channel = 'a' OR i <= 1500`
    yield* sql`INSERT INTO checkpoint_writes (thread_id, checkpoint_id, task_id, idx, channel, type, blob)
      SELECT ${threadId}, lpad(i::text, 6, '0'), 'task', 0, 'w', 'json', i::text::bytea
      FROM generate_series(1, 3000) i`
    yield* sql`ANALYZE checkpoints, checkpoint_blobs, checkpoint_writes`
  })

for (const [name, client] of [
  ["ordered by code point", stock()],
  ["with a linguistic collation", linguistic("flat")],
  // What prepared statements come to: a plan that does not know the parameters.
  ["with one plan for all parameters", stock({ settings: { plan_cache_mode: "force_generic_plan" } })]
] as const) {
  layer(SqlCheckpointer.layer().pipe(Layer.provideMerge(client)), { memoMap, timeout: "60 seconds" })(
    `a long thread in a database ${name}`,
    (it) => {
      it.effect("costs a get no more than a short one", () =>
        Effect.gen(function* () {
          const checkpointer = yield* Checkpointer.Checkpointer
          const threadId = `get ${name}`
          yield* insertLong(threadId)
          for (const checkpointId of [undefined, "003000"]) {
            const [found, fetched] = yield* fetchedBy(checkpointer.get({ threadId, checkpointId }))
            expect(Option.getOrThrow(found).checkpoint.channel_values).toEqual({ a: 3000, b: 1500 })
            expect(fetched).toEqual({ checkpoints: 1, blobs: 2, writes: 1 })
          }
        })
      )

      it.effect("costs a list what it gives, each value once, and nothing that was not asked for", () =>
        Effect.gen(function* () {
          const checkpointer = yield* Checkpointer.Checkpointer
          const threadId = `list ${name}`
          yield* insertLong(threadId)
          const newest = { threadId, namespace: "", limit: 10 }
          const few: number = expect.toSatisfy((rows: number) => rows <= 20)
          const cases: ReadonlyArray<readonly [Checkpointer.ListOptions, latest: number, expected: object]> = [
            [newest, 3000, { checkpoints: 10, blobs: 15, writes: 10 }],
            [{ ...newest, before: "002001" }, 2000, { checkpoints: 10, blobs: 15, writes: 10 }],
            [{ ...newest, values: false }, 3000, { checkpoints: 10, blobs: 0, writes: 10 }],
            [{ ...newest, writes: false }, 3000, { checkpoints: 10, blobs: 15, writes: 0 }],
            [{ ...newest, pageSize: 5 }, 3000, { checkpoints: 10, blobs: 16, writes: 10 }],
            // The look for other namespaces takes a few rows a page.
            [{ threadId, limit: 10 }, 3000, { checkpoints: few, blobs: 15, writes: 10 }],
            [{ threadId, limit: 10, before: "002001" }, 2000, { checkpoints: few, blobs: 15, writes: 10 }],
            [{ threadId, limit: 10, pageSize: 5 }, 3000, { checkpoints: few, blobs: 16, writes: 10 }]
          ]
          for (const [options, latest, expected] of cases) {
            const [found, fetched] = yield* fetchedBy(Stream.runCollect(checkpointer.list(options)))
            expect(Array.from(found, ({ key }) => Number(key.checkpointId))).toEqual(
              Array.from({ length: 10 }, (_, i) => latest - i)
            )
            expect([options, fetched]).toEqual([options, expected])
          }
        })
      )

      it.effect("costs a history of channels only the way to their last values", () =>
        Effect.gen(function* () {
          const checkpointer = yield* Checkpointer.Checkpointer
          const sql = yield* SqlClient.SqlClient
          const threadId = `history ${name}`
          yield* insertLong(threadId)
          yield* sql`UPDATE checkpoint_blobs SET blob = NULL, type = 'empty'
            WHERE thread_id = ${threadId} AND channel = 'a' AND version::int > 2989`
          const [history, fetched] = yield* fetchedBy(
            checkpointer.deltaHistory({ threadId, channels: ["a", "b", "w"] })
          )
          expect(history.a?.seed).toEqual(Option.some(2989))
          expect(history.b?.seed).toEqual(Option.some(1500))
          expect(history.w?.writes.map(({ value }) => value)).toEqual(Array.from({ length: 2999 }, (_, i) => i + 1))
          expect(fetched.writes).toBe(2999)
          const few: number = expect.toSatisfy((rows: number) => rows <= 40)
          const [, seeded] = yield* fetchedBy(checkpointer.deltaHistory({ threadId, channels: ["a", "b"] }))
          expect(seeded).toEqual({ checkpoints: few, blobs: few, writes: few })
        })
      )
    }
  )
}

// The names of the spans within.
const spansOf = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
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
    yield* effect.pipe(Effect.withSpan("parent"), Effect.withTracer(tracer))
    return names.slice(1)
  })

const poolOfOne = Layer.unwrapEffect(
  Effect.map(EmbeddedPostgres.EmbeddedPostgres, ({ url }) =>
    PgPool.layer({ url, maxConnections: 1, minConnections: 1, acquireTimeout: "5 seconds" })
  )
).pipe(Layer.provide(Server))

describe("a read", () => {
  for (const [name, client] of [
    ["checkpool's", poolOfOne],
    ["stock sql-pg's", stock({ maxConnections: 1 })]
  ] as const) {
    layer(SqlCheckpointer.layer({ schema: name }).pipe(Layer.provideMerge(client)), {
      memoMap,
      timeout: "60 seconds"
    })(`on ${name} pool of one connection`, (it) => {
      const thread = Effect.gen(function* () {
        const checkpointer = yield* Checkpointer.Checkpointer
        for (const id of ["1", "2", "3", "4", "5"]) {
          const checkpoint = { v: 4, id, ts: "", channel_values: { id }, channel_versions: { id }, versions_seen: {} }
          yield* checkpointer.put({ threadId: "t", checkpoint, metadata: {}, newVersions: { id } })
        }
        return checkpointer
      })

      it.effect("holds no connection while it is consumed", () =>
        Effect.gen(function* () {
          const checkpointer = yield* thread
          const found = yield* checkpointer.list({ threadId: "t", pageSize: 2 }).pipe(
            Stream.mapEffect(({ key }) => checkpointer.get(key)),
            Stream.runCollect
          )
          const ids = Array.from(found, (tuple) => Option.getOrThrow(tuple).key.checkpointId)
          expect(ids).toEqual(["5", "4", "3", "2", "1"])
        })
      )

      it.effect("takes part in the caller's transaction", () =>
        Effect.gen(function* () {
          const checkpointer = yield* thread
          const sql = yield* SqlClient.SqlClient
          const count = yield* sql.withTransaction(
            Effect.zipRight(
              sql`DELETE FROM ${sql(name)}.checkpoints WHERE checkpoint_id < '3'`,
              Stream.runCount(checkpointer.list({ threadId: "t", pageSize: 1 }))
            )
          )
          expect(count).toBe(3)
        })
      )

      it.effect("is one statement a page, and reads no page in advance", () =>
        Effect.gen(function* () {
          const checkpointer = yield* thread
          const list = checkpointer.list({ threadId: "t", namespace: "", pageSize: 2 })
          const page = ["Checkpointer.list", "sql.execute"]
          const pages = (n: number) => Array.from({ length: n }, () => page).flat()
          expect(yield* spansOf(Stream.runDrain(Stream.take(list, 1)))).toEqual(pages(1))
          expect(yield* spansOf(Stream.runDrain(Stream.take(list, 2)))).toEqual(pages(1))
          expect(yield* spansOf(Stream.runDrain(Stream.take(list, 3)))).toEqual(pages(2))
          expect(yield* spansOf(Stream.runHead(Stream.filter(list, ({ key }) => key.checkpointId === "2")))).toEqual(
            pages(2)
          )
          expect(yield* spansOf(Stream.runDrain(list))).toEqual(pages(3))
          const limited = checkpointer.list({ threadId: "t", limit: 4, pageSize: 2 })
          expect(yield* spansOf(Stream.runDrain(limited))).toEqual(pages(2))
          expect(Chunk.toReadonlyArray(yield* Stream.runCollect(limited))).toHaveLength(4)
        })
      )

      it.effect("is like all reads one statement, and two where checkpoints are older than version 4", () =>
        Effect.gen(function* () {
          const checkpointer = yield* thread
          const history = checkpointer.deltaHistory({ threadId: "t", channels: ["a"] })
          expect(yield* spansOf(history)).toEqual(["Checkpointer.deltaHistory", "sql.execute"])
          expect(yield* spansOf(checkpointer.get({ threadId: "t" }))).toEqual(["Checkpointer.get", "sql.execute"])
          for (const id of ["1", "2"]) {
            const checkpoint = { v: 3, id, ts: "", channel_values: {}, channel_versions: {}, versions_seen: {} }
            yield* checkpointer.put({ threadId: "old", parentId: "0", checkpoint, metadata: {}, newVersions: {} })
          }
          const twice = ["sql.execute", "sql.execute"]
          expect(yield* spansOf(checkpointer.get({ threadId: "old" }))).toEqual(["Checkpointer.get", ...twice])
          const list = checkpointer.list({ threadId: "old" })
          expect(yield* spansOf(Stream.runDrain(list))).toEqual(["Checkpointer.list", ...twice])
        })
      )
    })
  }
})
