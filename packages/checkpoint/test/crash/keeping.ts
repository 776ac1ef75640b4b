/**
 * What the programs of `fixtures/keepers.mjs` have left of the threads of a round: what had to stay, and what had to go.
 */
import type { CheckpointTuple } from "@checkpool/checkpoint/Checkpoint"
import { Checkpointer } from "@checkpool/checkpoint/Checkpointer"
import { SqlClient } from "@effect/sql"
import { Effect, Stream } from "effect"
import * as Ledger from "./ledger.ts"

type Lines = ReturnType<typeof Ledger.read>

export interface Findings {
  readonly found: number
  /** What was acknowledged, is among the last ones of its thread, and isn't there. */
  readonly lost: ReadonlyArray<string>
  /** What is there in part. */
  readonly half: ReadonlyArray<string>
  /** What was refused as late though nobody has deleted its thread. */
  readonly refused: ReadonlyArray<string>
}

/** The threads of a round, and those of it that are as old as can be. */
const ranges = (round: string) => ({
  kept: { after: `${round}-`, before: `${round}.` },
  old: { after: `0-${round}-`, before: `0-${round}.` }
})

export const verify = Effect.fnUntraced(function* (lines: Lines, round: string, keepLast: number) {
  const checkpointer = yield* Checkpointer
  const found = new Map<string, Map<number, CheckpointTuple>>()
  yield* checkpointer.list({ filter: { round }, pageSize: 500 }).pipe(
    Stream.runForEach((tuple) =>
      Effect.sync(() => {
        const { checkpointId, threadId } = tuple.key
        const thread = found.get(threadId) ?? new Map<number, CheckpointTuple>()
        found.set(threadId, thread.set(Number(checkpointId), tuple))
      })
    )
  )
  const kept = ({ threadId }: { readonly threadId: string }) => threadId.startsWith(`${round}-`)
  const acknowledged = lines.filter(Ledger.isAcknowledged).filter(kept)
  const known = new Map([...found].map(([threadId, thread]) => [threadId, new Set(thread.keys())]))
  for (const { step, threadId } of acknowledged) known.set(threadId, (known.get(threadId) ?? new Set()).add(step))
  const lost = acknowledged.filter(({ kind, step, threadId }) => {
    const later = [...known.get(threadId)!].filter((other) => other > step)
    const tuple = found.get(threadId)?.get(step)
    if (tuple === undefined) return later.length < keepLast
    return kind === "writes" && tuple.pendingWrites.length === 0
  })
  const half = [...found.values()].flatMap((thread) =>
    [...thread]
      .filter(([step, tuple]) => !Ledger.isWhole(tuple, isFirst(tuple, thread.has(step - 1))))
      .map(([, tuple]) => tuple.key)
  )
  return {
    found: [...found.values()].reduce((sum, { size }) => sum + size, 0),
    lost: lost.map(({ kind, step, threadId }) => `${kind} ${threadId}/${step}`),
    half: half.map(({ checkpointId, threadId }) => `${threadId}/${checkpointId}`),
    refused: lines
      .filter(isRefused)
      .filter(kept)
      .map(({ step, threadId }) => `${threadId}/${step}`)
  } satisfies Findings
})

// A put that was on its way while its old thread expired still names its parent.
const isFirst = ({ key, parentId }: CheckpointTuple, hasParent: boolean) =>
  key.threadId.startsWith("0-") ? parentId._tag === "None" : !hasParent

const isRefused = (line: Lines[number]): line is Ledger.Failed =>
  line.kind === "failed" && line.error === "ThreadDeleted"

/**
 * Passes as any process makes them later: one when what the dead have claimed is free again, and one when the grace of all
 * values is over. Gives what they could not do.
 */
export const cleanUp = Effect.fnUntraced(function* (round: string, keepLast: number) {
  const checkpointer = yield* Checkpointer
  const sql = yield* SqlClient.SqlClient
  const { kept, old } = ranges(round)
  const pass = Effect.all([
    checkpointer.retain({ ...kept, policy: { prune: { keepLast } } }),
    checkpointer.retain({ ...old, policy: { expireAfter: "1 day" } })
  ])
  const of = `${round}-%`
  const claims = yield* sql<{ claim: string }>`
    SELECT thread_id || ' until ' || leased_until AS claim FROM checkpool_retention
    WHERE (thread_id LIKE ${of} OR thread_id LIKE ${`0-${of}`}) AND leased_until > now() + interval '62 seconds'`
  // Those that nobody has claimed need not wait.
  const first = yield* pass
  yield* sql`UPDATE checkpool_retention SET leased_until = now() WHERE leased_until > now()`
  const second = yield* pass
  yield* sql`UPDATE checkpool_retired_values SET retired_at = retired_at - interval '1 hour'`
  const last = yield* pass
  const troubles = [...first, ...second, ...last].filter(({ ended, failed }) => ended !== "Complete" || failed > 0)
  return [
    ...claims.map(({ claim }) => claim),
    ...troubles.map(({ ended, failed }) => `a pass: ${ended}, ${failed} failed`)
  ]
})

/** Rows that nobody needs. */
export const leftOver = (round: string, keepLast: number) =>
  Effect.flatMap(SqlClient.SqlClient, (sql) => {
    const isOurs = sql.literal(`(thread_id LIKE '${round}-%' OR thread_id LIKE '0-${round}-%')`)
    return Effect.map(
      sql<{ row: string }>`
        SELECT thread_id || ' blob ' || channel || version AS row FROM checkpoint_blobs b
        WHERE ${isOurs} AND NOT EXISTS (
          SELECT FROM checkpoints c WHERE c.thread_id = b.thread_id AND c.checkpoint -> 'channel_versions' ->> b.channel = b.version)
        UNION ALL
        SELECT thread_id || ' write ' || checkpoint_id FROM checkpoint_writes w
        WHERE ${isOurs} AND NOT EXISTS (
          SELECT FROM checkpoints c WHERE c.thread_id = w.thread_id AND c.checkpoint_id = w.checkpoint_id)
        UNION ALL
        SELECT thread_id || ' retired ' || channel || version FROM checkpool_retired_values WHERE ${isOurs}
        UNION ALL
        SELECT thread_id || ' retention' FROM checkpool_retention r
        WHERE ${isOurs} AND (leased_until > now() OR NOT EXISTS (SELECT FROM checkpoints c WHERE c.thread_id = r.thread_id))
        UNION ALL
        SELECT thread_id || ' of ' || count(*) FROM checkpoints
        WHERE ${isOurs} GROUP BY thread_id HAVING count(*) > ${keepLast} OR thread_id LIKE '0-%'`,
      (rows) => rows.map(({ row }) => row)
    )
  })
