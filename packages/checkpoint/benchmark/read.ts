/**
 * What it costs to read checkpoints, beside LangGraph's own saver on the same tables and data.
 *
 *     tsc -b packages/checkpoint/benchmark && node packages/checkpoint/benchmark/dist/read.js [rounds]
 *
 * Checkpoints have five channels, of which each step changes two. Both read through a pool of ten connections.
 */
import { Checkpointer, SqlCheckpointer } from "@checkpool/checkpoint"
import { EmbeddedPostgres } from "@checkpool/embedded"
import { PgPool } from "@checkpool/pg"
import { SqlClient } from "@effect/sql"
import { PgClient } from "@effect/sql-pg"
import { PostgresSaver } from "@langchain/langgraph-checkpoint-postgres"
import { Context, Effect, Layer, Option, Redacted, Runtime, Stream } from "effect"
import Pg from "pg"
import { sideBySide } from "./sideBySide.ts"

const rounds = Number(process.argv[2] ?? 20)

const channels = ["messages", "plan", "context", "result", "notes"]

/** A thread in LangGraph's format, written past both of them. */
const fill = (threadId: string, length: number, bytes: number) =>
  Effect.gen(function* () {
    const sql = yield* SqlClient.SqlClient
    // Random, so that compression is no part of it.
    yield* sql`
      INSERT INTO checkpoint_blobs (thread_id, channel, version, type, blob)
      SELECT ${threadId}, channel, i::text, 'json', convert_to(to_json((
        SELECT string_agg(md5(random()::text || i || n), '') FROM generate_series(1, ${bytes / 32}::int) n
      ))::text, 'UTF8')
      FROM generate_series(1, ${length}::int) i, unnest(${sql.literal(`'{${channels}}'`)}::text[]) WITH ORDINALITY c (channel, k)
      WHERE i = 1 OR (i + k) % 5 < 2`
    const ids = yield* Effect.sync(() =>
      Array.from(
        { length },
        (_, i) => `1f0a0000-0000-6${(i + 1).toString(16).padStart(3, "0")}-8000-00000000000${i % 10}`
      )
    )
    yield* sql`
      INSERT INTO checkpoints (thread_id, checkpoint_id, parent_checkpoint_id, checkpoint, metadata)
      SELECT ${threadId}, id.id, lag(id.id) OVER (ORDER BY i),
        jsonb_build_object('v', 4, 'id', id.id, 'ts', '2026-01-02T03:04:05.678Z', 'versions_seen', '{}'::jsonb,
          'channel_versions', (
            SELECT jsonb_object_agg(channel, (SELECT max(j) FROM generate_series(greatest(1, i - 4), i) j WHERE j = 1 OR (j + k) % 5 < 2))
            FROM unnest(${sql.literal(`'{${channels}}'`)}::text[]) WITH ORDINALITY c (channel, k))),
        jsonb_build_object('source', 'loop', 'step', i, 'parents', '{}'::jsonb)
      FROM unnest(${ids}::text[]) WITH ORDINALITY id (id, i)`
    return threadId
  })

const PoolOf = (url: Redacted.Redacted) => PgPool.layer({ url, maxConnections: 10 })

const main = Effect.gen(function* () {
  const { url } = yield* EmbeddedPostgres.EmbeddedPostgres
  const ours = yield* Layer.build(SqlCheckpointer.layer().pipe(Layer.provideMerge(PoolOf(url))))
  const onStock = yield* Layer.build(SqlCheckpointer.layer().pipe(Layer.provide(PgClient.layer({ url }))))
  const pool = yield* Effect.acquireRelease(
    Effect.sync(() => {
      const pool = new Pg.Pool({ connectionString: Redacted.value(url), max: 10 })
      // Without a listener the end of the server would be the end of the process.
      return pool.on("error", () => {})
    }),
    (pool) => Effect.promise(() => pool.end())
  )
  const saver = new PostgresSaver(pool)
  const sql = Context.get(ours, SqlClient.SqlClient)
  const filled = <A, E>(effect: Effect.Effect<A, E, SqlClient.SqlClient>) => Effect.provide(effect, ours)
  yield* filled(
    Effect.all([
      fill("1 KB × 10", 10, 1024),
      fill("1 KB × 1000", 1000, 1024),
      fill("1 KB × 10000", 10_000, 1024),
      fill("16 KB × 10", 10, 16_384),
      fill("16 KB × 1000", 1000, 16_384)
    ])
  )
  yield* sql`VACUUM ANALYZE checkpoints, checkpoint_blobs, checkpoint_writes`
  const run = Runtime.runPromise(yield* Effect.runtime<never>())
  const [checkpointer, stockClient] = [ours, onStock].map((context) => Context.get(context, Checkpointer.Checkpointer))

  const check = (many: ReadonlyArray<unknown>) => {
    for (const each of many) {
      if (JSON.stringify(each) !== JSON.stringify(many[0])) throw new Error("The variants differ in what they read")
    }
  }
  const sorted = (values: object) => Object.entries(values).toSorted()

  const row = (name: string, target: string, variants: Parameters<typeof sideBySide>[0]) =>
    Effect.promise(async () => {
      const results = await sideBySide(variants, { rounds, milliseconds: 150 })
      const cells = results.map(({ ratio, spread, time }, i) =>
        i === 0
          ? time.toFixed(3)
          : `${time.toFixed(3)} (**${ratio.toFixed(1)}×**, ${spread.map((each) => each.toFixed(1)).join("–")})`
      )
      console.log(`| ${[name, ...cells, target].join(" | ")} |`)
      return results
    })

  console.log(
    `| p50 in ms | stock saver | ours, our pool | ours, stock sql-pg | target |\n| --- | --- | --- | --- | --- |`
  )
  const gets = new Map<string, number>()
  for (const [threadId, target] of [
    ["1 KB × 10", "≥ 4.5×"],
    ["1 KB × 1000", "≥ 7.5×"],
    ["1 KB × 10000", "≥ 38×"],
    ["16 KB × 10", "28×"],
    ["16 KB × 1000", "31×"]
  ] as const) {
    const stock = () => saver.getTuple({ configurable: { thread_id: threadId, checkpoint_ns: "" } })
    const get = (service: Checkpointer.Service | undefined) => () => run(service!.get({ threadId }))
    const variants = [stock, get(checkpointer), get(stockClient)]
    const first = yield* Effect.promise(stock)
    const values = yield* Effect.promise(() => Promise.all(variants.slice(1).map((variant) => variant())))
    check([
      sorted(first!.checkpoint.channel_values),
      ...values.map((found) =>
        sorted(
          Option.getOrThrow(found as Option.Option<{ checkpoint: { channel_values: object } }>).checkpoint
            .channel_values
        )
      )
    ])
    const [, result] = yield* row(`getTuple, ${threadId}`, target, variants)
    gets.set(threadId, result!.time)
  }
  for (const [threadId, target] of [
    ["1 KB × 1000", "≥ 15×"],
    ["16 KB × 1000", "≥ 30×"]
  ] as const) {
    for (const namespace of ["", undefined]) {
      const stock = async () => {
        const all: Array<unknown> = []
        const configurable = { thread_id: threadId, ...(namespace === undefined ? {} : { checkpoint_ns: namespace }) }
        for await (const tuple of saver.list({ configurable }, { limit: 10 })) all.push(tuple)
        return all
      }
      const list = (service: Checkpointer.Service | undefined) => () =>
        run(Stream.runCollect(service!.list({ threadId, namespace, limit: 10 })))
      const where = namespace === undefined ? "all namespaces" : "one namespace"
      yield* row(`list(limit 10), ${threadId}, ${where}`, target, [stock, list(checkpointer), list(stockClient)])
    }
  }
  const growth = gets.get("1 KB × 10000")! / gets.get("1 KB × 10")!
  console.log(`\nget at 10,000 takes ${growth.toFixed(2)}× the time at 10 (target ≤ 1.1×).`)
})

Effect.runPromise(Effect.scoped(Effect.provide(main, EmbeddedPostgres.layer()))).catch((error) => {
  console.error(error)
  process.exitCode = 1
})
