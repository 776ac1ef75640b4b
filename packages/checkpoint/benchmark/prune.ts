/**
 * What it takes to thin out histories: a thread of 10,000 checkpoints, and a store of 1,000 threads, one after the other and
 * by passes of retention, with the sizes of the tables before and after. Half of what retention finds has expired.
 *
 *     tsc -b packages/checkpoint/benchmark && node --expose-gc packages/checkpoint/benchmark/dist/prune.js [part of a case's name]
 *
 * Checkpoints have five channels of 1 KB, of which each step changes two.
 */
import { Checkpointer, Retention, SqlCheckpointer } from "@checkpool/checkpoint"
import { EmbeddedPostgres } from "@checkpool/embedded"
import { PgPool } from "@checkpool/pg"
import { SqlClient } from "@effect/sql"
import { Effect, Layer, Stream } from "effect"

const tables = ["checkpoints", "checkpoint_blobs", "checkpoint_writes"]

/** Threads in LangGraph's format, each of so many checkpoints. */
const fill = (prefix: string, threads: number, length: number) =>
  Effect.flatMap(
    SqlClient.SqlClient,
    (sql) => sql`
    WITH steps AS (
      SELECT ${prefix} || t AS thread_id, i, lpad(i::text, 8, '0') AS id
      FROM generate_series(1, ${threads}::int) t, generate_series(1, ${length}::int) i
    ), blobs AS (
      INSERT INTO checkpoint_blobs (thread_id, channel, version, type, blob)
      SELECT thread_id, 'c' || k, i::text, 'json', convert_to(to_json((
        SELECT string_agg(md5(random()::text || i || n), '') FROM generate_series(1, 32) n
      ))::text, 'UTF8')
      FROM steps, generate_series(0, 4) k WHERE i = 1 OR (i + k) % 5 < 2
    ), writes AS (
      INSERT INTO checkpoint_writes (thread_id, checkpoint_id, task_id, idx, channel, type, blob)
      SELECT thread_id, id, 'task', 0, 'c0', 'json', convert_to('"' || repeat('x', 100) || '"', 'UTF8') FROM steps
    )
    INSERT INTO checkpoints (thread_id, checkpoint_id, parent_checkpoint_id, checkpoint, metadata)
    SELECT thread_id, id, CASE WHEN i > 1 THEN lpad((i - 1)::text, 8, '0') END,
      jsonb_build_object('v', 4, 'id', id, 'ts', '2026-01-02T03:04:05.678Z', 'versions_seen', '{}'::jsonb,
        'channel_versions', (
          SELECT jsonb_object_agg('c' || k, (SELECT max(j) FROM generate_series(greatest(1, i - 4), i) j WHERE j = 1 OR (j + k) % 5 < 2))
          FROM generate_series(0, 4) k)),
      jsonb_build_object('source', 'loop', 'step', i)
    FROM steps`
  )

/** Rows and megabytes of all tables. */
const sizes = Effect.gen(function* () {
  const sql = yield* SqlClient.SqlClient
  let [rows, bytes] = [0, 0]
  for (const table of tables) {
    const [found] = yield* sql<{ rows: string; bytes: string }>`
      SELECT (SELECT count(*) FROM ${sql(table)}) AS rows, pg_total_relation_size(${table}::regclass) AS bytes`
    rows += Number(found!.rows)
    bytes += Number(found!.bytes)
  }
  return `${rows} rows, ${(bytes / 2 ** 20).toFixed(1)} MiB`
})

/** How long it takes, and how far the heap of this process grows meanwhile. */
const timed = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.gen(function* () {
    globalThis.gc?.()
    const before = process.memoryUsage().heapUsed
    let peak = before
    const watch = yield* Effect.fork(
      Effect.forever(
        Effect.delay(
          Effect.sync(() => {
            peak = Math.max(peak, process.memoryUsage().heapUsed)
          }),
          "10 millis"
        )
      )
    )
    const start = performance.now()
    const result = yield* effect
    const seconds = (performance.now() - start) / 1000
    yield* watch.interruptAsFork(watch.id())
    return [result, `${seconds.toFixed(2)} s, heap +${((peak - before) / 2 ** 20).toFixed(0)} MiB`] as const
  })

/** Each thread by itself. */
const pruneEach = (keepLast: number) =>
  Effect.flatMap(Checkpointer.Checkpointer, (checkpointer) =>
    Stream.runForEach(checkpointer.threads(), ({ threadId }) => checkpointer.prune({ threadId, keepLast, grace: 0 }))
  )

/** Passes until all threads have been looked at. */
const retainAll = (keepLast: number) =>
  Effect.repeat(Retention.run({ policy: { prune: { keepLast } }, grace: 0, every: "1 hour" }), {
    until: ({ ended }) => ended === "Complete"
  })

/** A time to live that is over, for every other thread. */
const expireHalf = Effect.flatMap(
  SqlClient.SqlClient,
  (sql) => sql`INSERT INTO checkpool_retention (thread_id, ttl, ttl_set_at)
    SELECT 't' || t, 1, now() FROM generate_series(1, 1000, 2) t`
)

const all = ["checkpoints", "checkpoint_blobs", "checkpoint_writes", "checkpool_retention", "checkpool_retired_values"]

const main = Effect.gen(function* () {
  const sql = yield* SqlClient.SqlClient
  const row = (...cells: ReadonlyArray<string>) => console.log(`| ${cells.join(" | ")} |`)
  const cases = [
    { name: "1 thread × 10,000", threads: 1, length: 10_000, keepLast: 10, how: pruneEach, begin: Effect.void },
    { name: "1,000 threads × 50", threads: 1000, length: 50, keepLast: 5, how: pruneEach, begin: Effect.void },
    { name: "1,000 × 50, retention", threads: 1000, length: 50, keepLast: 5, how: retainAll, begin: Effect.void },
    { name: "1,000 × 50, half expired", threads: 1000, length: 50, keepLast: 5, how: retainAll, begin: expireHalf }
  ]
  row("store", "keep last", "before", "time, growth of the heap", "after", "again", "after VACUUM FULL")
  row("---", "---", "---", "---", "---", "---", "---")
  const asked = cases.filter(({ name }) => name.includes(process.argv[2] ?? ""))
  for (const { begin, how, keepLast, length, name, threads } of asked) {
    yield* sql.unsafe(`TRUNCATE ${all.join(", ")}`)
    yield* fill("t", threads, length)
    yield* begin
    yield* sql.unsafe(`VACUUM ANALYZE ${all.join(", ")}`)
    const before = yield* sizes
    const [, time] = yield* timed(how(keepLast))
    yield* sql.unsafe(`VACUUM ${all.join(", ")}`)
    const after = yield* sizes
    // There is nothing left to do: what it takes to see that.
    yield* sql`UPDATE checkpool_retention SET looked_at = '-infinity'`
    const [, again] = yield* timed(how(keepLast))
    yield* sql.unsafe(`VACUUM FULL ${all.join(", ")}`)
    row(name, String(keepLast), before, time, after, again, yield* sizes)
  }
})

const Postgres = Layer.unwrapEffect(
  Effect.map(EmbeddedPostgres.EmbeddedPostgres, ({ url }) => PgPool.layer({ url, maxConnections: 10 }))
).pipe(Layer.provide(EmbeddedPostgres.layer()))

Effect.runPromise(Effect.provide(main, SqlCheckpointer.layer().pipe(Layer.provideMerge(Postgres)))).catch((error) => {
  console.error(error)
  process.exitCode = 1
})
