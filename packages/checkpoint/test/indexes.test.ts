import { Checkpointer, SqlCheckpointer } from "@checkpool/checkpoint"
import { SqlClient } from "@effect/sql"
import { TransactionConnection } from "@effect/sql/SqlClient"
import { expect, layer } from "@effect/vitest"
import { Context, Effect, Fiber, Layer, Schedule, Stream, TestServices } from "effect"
import { linguistic, memoMap, pool, stock } from "./database.ts"

const indexes = (schema: string) =>
  Effect.flatMap(SqlClient.SqlClient, (sql) =>
    Effect.map(
      sql`SELECT c.relname, i.indisvalid FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
        JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = ${schema} AND c.relname LIKE 'checkpoints_by%' ORDER BY 1`,
      (rows) => rows.map(({ indisvalid, relname }) => [relname, indisvalid])
    )
  )

const byMetadata = [["checkpoints_by_metadata", true]]

/** A transaction that writers have left open, as it is at any time on a busy server: the making of an index waits for it. */
const besideAWriter = <A, E, R>(sql: SqlClient.SqlClient, schema: string, effect: Effect.Effect<A, E, R>) =>
  sql.withTransaction(
    Effect.zipRight(
      sql`INSERT INTO ${sql(schema)}.checkpoints (thread_id, checkpoint_id, checkpoint) VALUES ('open', '1', '{}')`,
      effect
    )
  )

/** Runs it as a caller who has no transaction. */
const outOfTransaction = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.mapInputContext(
    effect,
    (context: Context.Context<R>) =>
      Context.omit(TransactionConnection)(context as Context.Context<R | TransactionConnection>) as Context.Context<R>
  )

const isMade = (sql: SqlClient.SqlClient) =>
  sql`SELECT 1 FROM pg_stat_progress_create_index`.pipe(
    Effect.repeat({ until: (rows) => rows.length > 0, schedule: Schedule.spaced("5 millis") }),
    TestServices.provideLive
  )

for (const [name, client] of [
  ["stock sql-pg", stock({ maxConnections: 20 })],
  ["our pool", pool]
] as const) {
  layer(client, { memoMap, timeout: "60 seconds" })(`indexes made on ${name}`, (it) => {
    const fresh = (schema: string) => Layer.build(Layer.fresh(SqlCheckpointer.layer({ schema })))

    it.scoped("lock no writer out, and wait for none of each other's", () =>
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        const schema = `online ${name}`
        const checkpointer = yield* Effect.provide(Checkpointer.Checkpointer, yield* fresh(schema))
        const makers = yield* besideAWriter(
          sql,
          schema,
          Effect.gen(function* () {
            // None of it within the transaction that it has to wait for.
            const makers = yield* Effect.forkDaemon(
              Effect.provideService(
                Effect.all(
                  Array.from({ length: 4 }, () => SqlCheckpointer.createIndexes({ schema, metadata: true })),
                  { concurrency: "unbounded" }
                ),
                SqlClient.SqlClient,
                sql
              ).pipe(outOfTransaction, TestServices.provideLive)
            )
            yield* outOfTransaction(isMade(sql))
            const checkpoint = { v: 4, id: "1", ts: "", channel_values: {}, channel_versions: {}, versions_seen: {} }
            yield* outOfTransaction(
              checkpointer.put({ threadId: "t", checkpoint, metadata: { k: 1 }, newVersions: {} })
            )
            expect(makers.unsafePoll()).toBe(null)
            return makers
          })
        )
        yield* Fiber.join(makers)
        expect(yield* indexes(schema)).toEqual(byMetadata)
        expect(yield* Stream.runCount(checkpointer.list({ filter: { k: 1 } }))).toBe(1)
      })
    )

    it.scoped("are made anew if somebody has left one half made", () =>
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        const schema = `half ${name}`
        yield* fresh(schema)
        yield* besideAWriter(
          sql,
          schema,
          Effect.gen(function* () {
            const maker = yield* Effect.forkDaemon(
              SqlCheckpointer.createIndexes({ schema, metadata: true }).pipe(outOfTransaction, TestServices.provideLive)
            )
            yield* outOfTransaction(isMade(sql))
            yield* Fiber.interrupt(maker)
          })
        )
        expect(yield* indexes(schema)).toEqual([["checkpoints_by_metadata", false]])
        yield* SqlCheckpointer.createIndexes({ schema, metadata: true })
        expect(yield* indexes(schema)).toEqual(byMetadata)
      })
    )

    it.scoped("are not made where the keys serve, nor if not asked for", () =>
      Effect.gen(function* () {
        const schema = `none ${name}`
        yield* fresh(schema)
        yield* SqlCheckpointer.createIndexes({ schema })
        expect(yield* indexes(schema)).toEqual([])
        const error = yield* Effect.flip(SqlCheckpointer.createIndexes({ schema: "\0" }))
        expect(error).toMatchObject({ field: "schema", reason: "Nul" })
      })
    )
  })
}

layer(linguistic("indexes"), { memoMap, timeout: "60 seconds" })("in a database with a linguistic collation", (it) => {
  it.scoped("the index of the latest checkpoint is made for tables that another program has made", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      yield* Layer.build(SqlCheckpointer.layer())
      yield* sql`DROP INDEX checkpoints_by_code_point`
      yield* SqlCheckpointer.createIndexes()
      expect(yield* indexes("public")).toEqual([["checkpoints_by_code_point", true]])
    })
  )

  it.scoped("a filter on metadata is answered from its index", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      yield* Layer.build(SqlCheckpointer.layer())
      yield* sql`INSERT INTO checkpoints (thread_id, checkpoint_id, checkpoint, metadata)
        SELECT 't', i::text, '{}', jsonb_build_object('k', i) FROM generate_series(1, 5000) i`
      yield* SqlCheckpointer.createIndexes({ metadata: true })
      yield* sql`ANALYZE checkpoints`
      const plan = yield* sql`EXPLAIN SELECT * FROM checkpoints WHERE metadata @> '{"k": 17}'`
      expect(JSON.stringify(plan)).toContain("checkpoints_by_metadata")
    })
  )
})
