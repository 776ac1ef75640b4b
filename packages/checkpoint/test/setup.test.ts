import { spawn } from "node:child_process"
import { once } from "node:events"
import { fileURLToPath } from "node:url"
import { Checkpointer, SqlCheckpointer } from "@checkpool/checkpoint"
import { EmbeddedPostgres } from "@checkpool/embedded"
import { SqlClient } from "@effect/sql"
import { expect, layer } from "@effect/vitest"
import { Context, Deferred, Effect, Exit, Fiber, Layer, Option, Redacted, Schedule, TestServices } from "effect"
import * as Migrations from "../src/internal/migrations.ts"
import { memoMap, open, Server, stock } from "./database.ts"
import { recorder } from "./spans.ts"

const program = fileURLToPath(new URL("./fixtures/setup.mjs", import.meta.url))

// Always afresh: set-up is what is tested.
const build = (options: SqlCheckpointer.Options) =>
  Effect.flatMap(Layer.build(Layer.fresh(SqlCheckpointer.layer(options))), (context) =>
    Effect.provide(Checkpointer.Checkpointer, context)
  )

const versions = (schema: string) =>
  Effect.flatMap(SqlClient.SqlClient, (sql) =>
    Effect.map(sql`SELECT v FROM ${sql(schema)}.checkpoint_migrations ORDER BY v`, (rows) => rows.map(({ v }) => v))
  )

const indexes = (schema: string) =>
  Effect.flatMap(SqlClient.SqlClient, (sql) =>
    Effect.map(
      sql`SELECT indexname FROM pg_indexes WHERE schemaname = ${schema} ORDER BY indexname COLLATE "C"`,
      (rows) => rows.map(({ indexname }) => indexname)
    )
  )

// The error codes of statements that failed on the way, even if a retry made up for it.
const failures = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.gen(function* () {
    const { spans, tracer } = yield* recorder
    yield* Effect.withTracer(effect, tracer)
    return spans.filter(
      ({ name, status }) => name === "sql.execute" && status._tag === "Ended" && Exit.isFailure(status.exit)
    )
  })

const all = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
const keys = [
  ["checkpoint_blobs_pkey", "checkpoint_migrations_pkey", "checkpoint_writes_pkey", "checkpoints_pkey"],
  [
    "checkpool_deleted_threads_by_age",
    "checkpool_deleted_threads_pkey",
    "checkpool_migrations_pkey",
    "checkpool_retention_by_turn",
    "checkpool_retention_pkey",
    "checkpool_retired_values_pkey",
    "checkpool_thread_locks_by_age",
    "checkpool_thread_locks_claim_key",
    "checkpool_thread_locks_pkey"
  ]
].flat()

/** What a saver of LangGraph leaves behind that knows the versions up to `last`. */
const leftBy = (schema: string, last: number) =>
  Effect.gen(function* () {
    const sql = yield* SqlClient.SqlClient
    yield* sql`CREATE SCHEMA ${sql(schema)}`
    for (const [v, statement] of Migrations.langGraph
      .statements(schema)
      .slice(0, last + 1)
      .entries()) {
      yield* sql.unsafe(statement)
      yield* sql`INSERT INTO ${sql(schema)}.checkpoint_migrations (v) VALUES (${v})`
    }
  })

layer(stock({ maxConnections: 20 }), { memoMap, timeout: "60 seconds" })("set-up", (it) => {
  it.scoped("makes schema and tables once, for any number of callers at the same time", () =>
    Effect.gen(function* () {
      const failed = yield* failures(
        Effect.all(
          Array.from({ length: 40 }, () => build({ schema: "together" })),
          { concurrency: "unbounded" }
        )
      )
      expect(failed).toEqual([])
      expect(yield* versions("together")).toEqual(all)
      // No index twice: Python's on thread_id alone would serve nothing that the keys don't.
      expect((yield* indexes("together")).filter((index) => index !== "checkpoints_by_code_point")).toEqual(keys)
    })
  )

  it.scoped("makes them once for several processes at the same time", () =>
    Effect.gen(function* () {
      const { url } = Context.get(yield* open(Server), EmbeddedPostgres.EmbeddedPostgres)
      const env = { ...process.env, SETUP_SCHEMA: "processes", SETUP_URL: Redacted.value(url) }
      const codes = yield* Effect.promise(() =>
        Promise.all(
          Array.from({ length: 4 }, async () => {
            const child = spawn(process.execPath, [program], { env, stdio: ["ignore", "ignore", "inherit"] })
            return (await once(child, "exit"))[0]
          })
        )
      )
      expect(codes).toEqual([0, 0, 0, 0])
      expect(yield* versions("processes")).toEqual(all)
    })
  )

  it.scoped("does so too where transactions are serializable by default", () =>
    Effect.gen(function* () {
      const strict = yield* open(
        stock({ maxConnections: 10, settings: { default_transaction_isolation: "serializable" } })
      )
      const failed = yield* Effect.all(
        Array.from({ length: 20 }, () => build({ schema: "serializable" })),
        { concurrency: "unbounded" }
      ).pipe(failures, Effect.provide(strict))
      expect(failed).toEqual([])
      expect(yield* versions("serializable")).toEqual(all)
    })
  )

  it.scoped("gets along with a saver that makes the same tables at the same moment and takes no lock", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const made = yield* Deferred.make<void>()
      const blocked = yield* Deferred.make<void>()
      const rival = yield* Effect.fork(
        sql.withTransaction(
          Effect.all([leftBy("rival", 4), Deferred.succeed(made, undefined), Deferred.await(blocked)], {
            discard: true
          })
        )
      )
      yield* Deferred.await(made)
      const ours = yield* Effect.fork(build({ schema: "rival" }))
      yield* sql`SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%rival%'`.pipe(
        Effect.repeat({ until: (rows) => rows.length > 0, schedule: Schedule.spaced("5 millis") }),
        TestServices.provideLive
      )
      yield* Deferred.succeed(blocked, undefined)
      yield* Fiber.join(rival)
      yield* Fiber.join(ours)
      expect(yield* versions("rival")).toEqual(all)
    })
  )

  it.scoped("brings the tables of the JavaScript saver up to date and keeps what is in them", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      yield* leftBy("javascript", 4)
      const key = { thread_id: "t", checkpoint_ns: "", checkpoint_id: "1" }
      const stored = { v: 4, id: "1", ts: "now", channel_versions: { a: 1, gone: 1 }, versions_seen: {} }
      yield* sql`INSERT INTO javascript.checkpoints ${sql.insert({
        ...key,
        checkpoint: JSON.stringify(stored),
        metadata: '{"step":-1}'
      })}`
      const blob = { thread_id: "t", checkpoint_ns: "", version: "1" }
      yield* sql`INSERT INTO javascript.checkpoint_blobs ${sql.insert([
        { ...blob, channel: "a", type: "json", blob: Buffer.from('{"lc":2,"type":"undefined"}') },
        { ...blob, channel: "gone", type: "empty", blob: null }
      ])}`
      yield* sql`INSERT INTO javascript.checkpoint_writes ${sql.insert({
        ...key,
        task_id: "task",
        idx: 0,
        channel: "a",
        type: "bytes",
        blob: Buffer.of(1)
      })}`
      const checkpointer = yield* build({ schema: "javascript" })
      expect(Option.getOrThrow(yield* checkpointer.get({ threadId: "t" }))).toEqual({
        key: { threadId: "t", namespace: "", checkpointId: "1" },
        parentId: Option.none(),
        checkpoint: { ...stored, channel_values: { a: undefined } },
        metadata: { step: -1 },
        pendingWrites: [{ taskId: "task", taskPath: "", index: 0, channel: "a", value: Uint8Array.of(1) }]
      })
      expect(yield* versions("javascript")).toEqual(all)
    })
  )

  it.scoped("leaves the tables of the Python saver as they are, with its indexes", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      yield* leftBy("python", 9)
      yield* sql`CREATE INDEX checkpoints_thread_id_idx ON python.checkpoints (thread_id)`
      yield* build({ schema: "python" })
      expect(yield* versions("python")).toEqual(all)
      expect(yield* indexes("python")).toEqual([...keys, "checkpoints_thread_id_idx"].sort())
    })
  )

  it.scoped("takes an index that nothing used away from tables that have it", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      yield* build({ schema: "six" })
      yield* sql`CREATE INDEX checkpool_retired_values_by_age ON six.checkpool_retired_values (retired_at)`
      yield* sql`DELETE FROM six.checkpool_migrations WHERE v > 6`
      const outdated = yield* Effect.flip(build({ schema: "six", setup: "verify" }))
      expect(outdated).toMatchObject({ _tag: "SchemaOutdated", table: "checkpool_migrations", have: 6 })
      yield* build({ schema: "six" })
      expect((yield* indexes("six")).filter((index) => index !== "checkpoints_by_code_point")).toEqual(keys)
    })
  )

  it.scoped("verifies without touching anything", () =>
    Effect.gen(function* () {
      const missing = yield* Effect.flip(build({ schema: "missing", setup: "verify" }))
      expect(missing).toMatchObject({ _tag: "SchemaOutdated", schema: "missing", have: -1, need: 9 })
      expect(missing.message).toContain("has no checkpoint tables")
      yield* leftBy("old", 4)
      const old = yield* Effect.flip(build({ schema: "old", setup: "verify" }))
      expect(old).toMatchObject({ _tag: "SchemaOutdated", have: 4, need: 9 })
      expect(old.message).toContain("version 4")
      expect(yield* versions("old")).toEqual([0, 1, 2, 3, 4])
      // LangGraph's tables alone are not all that there has to be.
      yield* leftBy("langgraph alone", 9)
      expect(yield* Effect.flip(build({ schema: "langgraph alone", setup: "verify" }))).toMatchObject({
        _tag: "SchemaOutdated",
        table: "checkpool_migrations",
        have: -1
      })
      yield* build({ schema: "old" })
      const checkpointer = yield* build({ schema: "old", setup: "verify" })
      expect(yield* checkpointer.get({ threadId: "t" })).toEqual(Option.none())
    })
  )

  it.scoped("can be left out, and missing tables are then found by the first operation", () =>
    Effect.gen(function* () {
      const checkpointer = yield* build({ schema: "absent", setup: "none" })
      const error = yield* Effect.flip(checkpointer.get({ threadId: "t" }))
      expect(error).toMatchObject({ _tag: "CheckpointerError", operation: "get", cause: { cause: { code: "42P01" } } })
    })
  )

  it.scoped("needs no right to create a schema that exists, and none to alter tables that are up to date", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      yield* sql`CREATE ROLE app LOGIN PASSWORD 'app'`
      const app = yield* open(stock({ username: "app", password: "app" }))
      yield* sql`CREATE SCHEMA granted`
      const refused = yield* Effect.flip(Effect.provide(build({ schema: "granted" }), app))
      expect(refused).toMatchObject({ operation: "setup", cause: { cause: { code: "42501" } } })
      yield* sql`GRANT USAGE, CREATE ON SCHEMA granted TO app`
      yield* Effect.provide(build({ schema: "granted" }), app)
      yield* sql`REVOKE CREATE ON SCHEMA granted FROM app`
      const checkpointer = yield* Effect.provide(build({ schema: "granted" }), app)
      expect(yield* checkpointer.get({ threadId: "t" })).toEqual(Option.none())
    })
  )

  it.scoped("gives a script that does the same, and can be run again", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const script = SqlCheckpointer.setupScript('by "hand"')
      for (let n = 0; n < 2; n++) yield* sql.unsafe(script)
      expect(yield* versions('by "hand"')).toEqual(all)
      const checkpointer = yield* build({ schema: 'by "hand"', setup: "verify" })
      expect(yield* checkpointer.get({ threadId: "t" })).toEqual(Option.none())
      expect(() => SqlCheckpointer.setupScript("\0")).toThrow("NUL")
    })
  )

  it.scoped("refuses a schema name that no identifier can be made of", () =>
    Effect.gen(function* () {
      expect(yield* Effect.flip(build({ schema: "a\0b" }))).toMatchObject({ field: "schema", reason: "Nul" })
      expect(yield* Effect.flip(build({ schema: "" }))).toMatchObject({ field: "schema", reason: "Empty" })
      // The server would cut it off, and two schemas would become one.
      const long = yield* Effect.flip(build({ schema: "é".repeat(32) }))
      expect(long).toMatchObject({ field: "schema", reason: "TooLong" })
      expect(long.message).toContain("63 bytes")
      yield* build({ schema: `${"é".repeat(31)}x` })
    })
  )
})
