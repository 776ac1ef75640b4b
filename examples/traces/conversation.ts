/**
 * Two turns of a conversation are saved at the same time over a single connection, so that one of them has to wait; and
 * the spans that tell of it.
 */
import { Checkpoint, Checkpointer, SqlCheckpointer } from "@checkpool/checkpoint"
import { EmbeddedPostgres } from "@checkpool/embedded"
import { PgPool } from "@checkpool/pg"
import { NodeSdk } from "@effect/opentelemetry"
import { SqlClient } from "@effect/sql"
import { InMemorySpanExporter, SimpleSpanProcessor } from "@opentelemetry/sdk-trace-base"
import { Effect, Layer } from "effect"
import { type Branch, treeOf } from "./tree.ts"

const PoolLive = Layer.unwrapEffect(
  Effect.map(EmbeddedPostgres.EmbeddedPostgres, ({ url }) =>
    PgPool.layer({ url, name: "conversations", minConnections: 1, maxConnections: 1 })
  )
)

const CheckpointerLive = SqlCheckpointer.layer().pipe(
  Layer.provideMerge(PoolLive),
  Layer.provide(EmbeddedPostgres.layer({ parameters: { fsync: "off" } }))
)

const turn = (question: string) =>
  Effect.gen(function* () {
    const sql = yield* SqlClient.SqlClient
    const checkpointer = yield* Checkpointer.Checkpointer
    const checkpoint = yield* Checkpoint.make({ channel_values: { question }, channel_versions: { question: 1 } })
    // Whoever comes second waits until this is committed.
    yield* sql.withTransaction(sql`SELECT pg_sleep(0.05)`)
    yield* checkpointer.put({ threadId: question, checkpoint, metadata: {}, newVersions: { question: 1 } })
    yield* checkpointer.get({ threadId: question })
  }).pipe(Effect.withSpan("turn", { attributes: { question } }))

/** What the spans of the conversation say, as a tree. */
export const trace: Effect.Effect<ReadonlyArray<Branch>, unknown> = Effect.gen(function* () {
  // In its place your program has an exporter that sends spans to a collector.
  const exporter = new InMemorySpanExporter()
  const TracesLive = NodeSdk.layer(() => ({
    resource: { serviceName: "traces" },
    spanProcessor: new SimpleSpanProcessor(exporter)
  }))
  return yield* Effect.all([turn("Who's there?"), turn("Stay, illusion!")], { concurrency: 2 }).pipe(
    Effect.withSpan("conversation"),
    // It forgets them when it is shut down.
    Effect.map(() => treeOf(exporter.getFinishedSpans())),
    Effect.provide(TracesLive),
    Effect.provide(CheckpointerLive),
    Effect.scoped
  )
})
