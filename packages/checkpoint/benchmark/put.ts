/**
 * What it costs to put checkpoints, beside LangGraph's own saver on the same server.
 *
 *     tsc -b packages/checkpoint/benchmark && node packages/checkpoint/benchmark/dist/put.js [rounds] [rows, such as 1,64,10]
 *
 * Checkpoints have five channels, of which each step changes two. Each writer has a thread of its own and puts one
 * checkpoint after the other. All variants have ten connections. They take turns within a round; what is shown is the
 * median over the rounds of puts per second in relation to the stock saver's, and the middle half of these ratios.
 */
import { Checkpointer, SqlCheckpointer } from "@checkpool/checkpoint"
import { EmbeddedPostgres, TcpRelay } from "@checkpool/embedded"
import { PgPool } from "@checkpool/pg"
import { SqlClient } from "@effect/sql"
import { PgClient } from "@effect/sql-pg"
import { emptyCheckpoint } from "@langchain/langgraph-checkpoint"
import { PostgresSaver } from "@langchain/langgraph-checkpoint-postgres"
import { Clock, Context, Effect, Layer, Redacted, Runtime } from "effect"
import Pg from "pg"

const rounds = Number(process.argv[2] ?? 9)
const only = process.argv[3]
const milliseconds = 400

const channels = ["messages", "plan", "context", "result", "notes"]

/** The steps of one writer. */
const makeSteps = (threadId: string, bytes: number) => {
  // Compressible as text is, and another one each time.
  const words = Array.from({ length: 64 }, () => Math.random().toString(36).slice(2))
  const text = () => {
    let text = ""
    while (text.length < bytes) text += `${words[Math.floor(Math.random() * words.length)]} `
    return text.slice(0, bytes)
  }
  const texts = Array.from({ length: 16 }, text)
  let step = 0
  let versions: Record<string, number> = {}
  let values: Record<string, string> = {}
  let parentId: string | undefined
  return () => {
    step++
    const changed = channels.filter((_, k) => step === 1 || (step + k) % 5 < 2)
    const newVersions = Object.fromEntries(changed.map((channel) => [channel, step]))
    versions = { ...versions, ...newVersions }
    values = { ...values, ...Object.fromEntries(changed.map((channel, k) => [channel, texts[(step + k) % 16]!])) }
    const id = `1f0a0000-0000-6000-8000-${step.toString(16).padStart(12, "0")}`
    const put = {
      threadId,
      parentId,
      checkpoint: {
        v: 4,
        id,
        ts: "2026-01-02T03:04:05.678Z",
        channel_values: values,
        channel_versions: versions,
        versions_seen: {}
      },
      metadata: { source: "loop" as const, step, parents: {} },
      newVersions
    }
    parentId = id
    return put
  }
}

/** Puts per second. */
type Variant = (writers: number, bytes: number) => Promise<number>

let threads = 0
const stepsOf = (writers: number, bytes: number) =>
  Array.from({ length: writers }, () => makeSteps(`thread ${++threads}`, bytes))

const stock =
  (saver: PostgresSaver): Variant =>
  async (writers, bytes) => {
    const start = performance.now()
    const counts = await Promise.all(
      stepsOf(writers, bytes).map(async (next) => {
        let count = 0
        for (; performance.now() - start < milliseconds; count++) {
          const { checkpoint, metadata, newVersions, parentId, threadId } = next()
          const configurable = { thread_id: threadId, checkpoint_ns: "", checkpoint_id: parentId }
          await saver.put({ configurable }, { ...emptyCheckpoint(), ...checkpoint }, metadata, newVersions)
        }
        return count
      })
    )
    return rate(counts, start)
  }

const ours =
  (run: <A, E>(effect: Effect.Effect<A, E>) => Promise<A>, checkpointer: Checkpointer.Service): Variant =>
  async (writers, bytes) => {
    const start = performance.now()
    const writer = (next: ReturnType<typeof makeSteps>) =>
      Effect.gen(function* () {
        let count = 0
        for (; performance.now() - start < milliseconds; count++) yield* checkpointer.put(next())
        return count
      })
    return rate(await run(Effect.forEach(stepsOf(writers, bytes), writer, { concurrency: "unbounded" })), start)
  }

const rate = (counts: ReadonlyArray<number>, start: number) =>
  (counts.reduce((sum, count) => sum + count, 0) / (performance.now() - start)) * 1000

const quantile = (values: ReadonlyArray<number>, q: number): number =>
  values.toSorted((a, b) => a - b)[Math.min(values.length - 1, Math.floor(q * values.length))]!

const medianTime = <A, E, R>(times: number, effect: Effect.Effect<A, E, R>) =>
  Effect.map(
    Effect.replicateEffect(
      Effect.gen(function* () {
        const start = yield* Clock.currentTimeNanos
        yield* effect
        return Number((yield* Clock.currentTimeNanos) - start) / 1e6
      }),
      times
    ),
    (times) => quantile(times, 0.5)
  )

const main = Effect.gen(function* () {
  const { host, port, url } = yield* EmbeddedPostgres.EmbeddedPostgres
  const relay = yield* TcpRelay.make({ target: { host, port } })
  yield* relay.setRoundTrip("10 millis")
  const farUrl = new URL(Redacted.value(url))
  farUrl.host = `${relay.host}:${relay.port}`
  const run = Runtime.runPromise(yield* Effect.runtime<never>())

  const make = (url: Redacted.Redacted) =>
    Effect.gen(function* () {
      const pool = yield* Layer.build(PgPool.layer({ url, maxConnections: 10, minConnections: 10, start: "min" }))
      const other = yield* Layer.build(PgClient.layer({ url, maxConnections: 10 }))
      const pg = yield* Effect.acquireRelease(
        Effect.sync(() => new Pg.Pool({ connectionString: Redacted.value(url), max: 10 }).on("error", () => {})),
        (pool) => Effect.promise(() => pool.end())
      )
      const checkpointer = (client: Context.Context<SqlClient.SqlClient>, options: SqlCheckpointer.Options) =>
        Effect.map(Effect.provide(Layer.build(SqlCheckpointer.layer(options)), client), (services) =>
          Context.get(services, Checkpointer.Checkpointer)
        )
      const grouped = yield* checkpointer(pool, {})
      const variants: ReadonlyArray<Variant> = [
        stock(new PostgresSaver(pg)),
        ours(run, grouped),
        ours(run, yield* checkpointer(pool, { groupCommit: false })),
        ours(run, yield* checkpointer(other, {}))
      ]
      return { sql: Context.get(pool, SqlClient.SqlClient), grouped, variants }
    })
  const near = yield* make(url)
  const far = yield* make(Redacted.make(farUrl.href))

  console.log(
    "| puts per second | stock saver | ours, our pool | without group commit | ours, stock sql-pg | target |\n" +
      "| --- | --- | --- | --- | --- | --- |"
  )
  for (const [kilobytes, writers, roundTrip, target] of [
    [1, 1, 0, "≥ 2.0×"],
    [1, 16, 0, "≥ 4.4×"],
    [1, 64, 0, "≥ 7×"],
    [16, 1, 0, ""],
    [16, 16, 0, ""],
    [16, 64, 0, "≥ 2.4×"],
    [1, 1, 10, ""],
    [1, 16, 10, ""],
    [1, 64, 10, "≥ 26×"],
    [16, 1, 10, ""],
    [16, 16, 10, ""],
    [16, 64, 10, ""]
  ] as const) {
    if (only !== undefined && only !== `${kilobytes},${writers},${roundTrip}`) continue
    const { variants } = roundTrip === 0 ? near : far
    yield* near.sql`TRUNCATE checkpoints, checkpoint_blobs, checkpoint_writes`
    const results: Array<ReadonlyArray<number>> = []
    // The first rounds warm up.
    for (let round = -2; round < rounds; round++) {
      const rates: Array<number> = []
      for (let i = 0; i < variants.length; i++) {
        const at = (i + Math.max(round, 0)) % variants.length
        rates[at] = yield* Effect.promise(() => variants[at]!(writers, kilobytes * 1024))
      }
      if (round >= 0) results.push(rates)
    }
    const cells = variants.map((_, i) => {
      const median = quantile(
        results.map((rates) => rates[i]!),
        0.5
      ).toFixed(0)
      if (i === 0) return median
      const ratios = results.map((rates) => rates[i]! / rates[0]!)
      const [low, middle, high] = [0.25, 0.5, 0.75].map((q) => quantile(ratios, q).toFixed(1))
      return `${median} (**${middle}×**, ${low}–${high})`
    })
    const name = `${kilobytes} KB, ${writers} ${writers === 1 ? "writer" : "writers"}, ${
      roundTrip === 0 ? "loopback" : `${roundTrip} ms round trip`
    }`
    console.log(`| ${[name, ...cells, target].join(" | ")} |`)
  }
  if (only !== undefined) return
  const next = makeSteps("lone", 1024)
  const select = yield* medianTime(100, far.sql`SELECT 1`)
  const put = yield* medianTime(
    100,
    Effect.suspend(() => far.grouped.put(next()))
  )
  console.log(`\nA lone put at 10 ms takes ${(put / select).toFixed(2)}× the time of a warm SELECT (target ≤ 1.15×).`)
})

Effect.runPromise(Effect.scoped(Effect.provide(main, EmbeddedPostgres.layer()))).catch((error) => {
  console.error(error)
  process.exitCode = 1
})
