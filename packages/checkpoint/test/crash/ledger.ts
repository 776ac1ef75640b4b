/**
 * What the writers of `fixtures` were told to be done, held against what a checkpointer finds.
 */
import * as NodeFs from "node:fs"
import type { CheckpointTuple } from "@checkpool/checkpoint/Checkpoint"
import { Checkpointer } from "@checkpool/checkpoint/Checkpointer"
import { SqlClient } from "@effect/sql"
import { Effect, Option, Stream } from "effect"

export type Kind = Line["kind"]

type Line = Acknowledged | Failed | { readonly kind: "prune" | "retain" | "expire" }

export interface Acknowledged {
  readonly threadId: string
  readonly step: number
  readonly kind: "put" | "writes"
}

/** What nobody knows to be done or not, with the tag of the error. */
export interface Failed {
  readonly threadId: string
  readonly step: number
  readonly kind: "failed"
  readonly error: string
}

/** Whole lines only: the last one may have been cut by the kill. */
export const read = (path: string): ReadonlyArray<Line> =>
  NodeFs.readFileSync(path, "utf8")
    .split("\n")
    .slice(0, -1)
    .map((line) => JSON.parse(line) as Line)

export const isAcknowledged = (line: Line): line is Acknowledged => line.kind === "put" || line.kind === "writes"

export interface Findings {
  readonly acknowledged: number
  /** Found, whether acknowledged or not. */
  readonly found: number
  /** What was acknowledged and isn't there. */
  readonly lost: ReadonlyArray<string>
  /** What is there in part. */
  readonly half: ReadonlyArray<string>
}

/** Looks at every thread of the round. */
export const verify = Effect.fnUntraced(function* (lines: ReadonlyArray<Line>, round: string) {
  const checkpointer = yield* Checkpointer
  const sql = yield* SqlClient.SqlClient
  const puts = new Map<string, CheckpointTuple>()
  const half: Array<string> = []
  yield* checkpointer.list({ filter: { round }, pageSize: 500 }).pipe(
    Stream.runForEach((tuple) =>
      Effect.sync(() => {
        puts.set(`${tuple.key.threadId}/${Number(tuple.key.checkpointId)}`, tuple)
        if (!isWhole(tuple, Number(tuple.key.checkpointId) === 0))
          half.push(`${tuple.key.threadId}/${tuple.key.checkpointId}`)
      })
    )
  )
  // Blobs and writes are stored with their checkpoint or after it.
  const orphans = yield* sql<{ orphan: string }>`
    SELECT thread_id || ' blob ' || channel || version AS orphan FROM checkpoint_blobs b
    WHERE thread_id LIKE ${`${round}-%`} AND NOT EXISTS (
      SELECT FROM checkpoints c WHERE c.thread_id = b.thread_id AND c.checkpoint_id = lpad(b.version, 9, '0'))
    UNION ALL
    SELECT thread_id || ' write ' || checkpoint_id FROM checkpoint_writes w
    WHERE thread_id LIKE ${`${round}-%`} AND NOT EXISTS (
      SELECT FROM checkpoints c WHERE c.thread_id = w.thread_id AND c.checkpoint_id = w.checkpoint_id)`
  const acknowledged = lines.filter(isAcknowledged)
  const lost = acknowledged.filter(({ kind, step, threadId }) => {
    const tuple = puts.get(`${threadId}/${step}`)
    return tuple === undefined || (kind === "writes" && tuple.pendingWrites.length === 0)
  })
  return {
    acknowledged: acknowledged.length,
    found: puts.size,
    lost: lost.map(({ kind, step, threadId }) => `${kind} ${threadId}/${step}`),
    half: [...half, ...orphans.map(({ orphan }) => orphan)]
  } satisfies Findings
})

/** Whether all of its parts are those of its step; `isFirst`: it has no parent. */
export const isWhole = (
  { checkpoint, key, metadata, parentId, pendingWrites }: CheckpointTuple,
  isFirst: boolean
): boolean => {
  const step = Number(key.checkpointId)
  const { a, b } = checkpoint.channel_values as Record<string, { readonly mark?: unknown } | undefined>
  const mark = (step: number) => `${key.threadId}/${step}`
  const writes = pendingWrites.map(({ channel, taskId, value }) => value === taskId + channel && value).join()
  return (
    checkpoint.ts === mark(step) &&
    metadata.mark === mark(step) &&
    a?.mark === mark(step) &&
    b?.mark === mark(step - (step % 3)) &&
    Option.match(parentId, { onNone: () => isFirst, onSome: (parent) => !isFirst && Number(parent) === step - 1 }) &&
    [[""], ["tp,tq,up,uq"], ["", "tp,tq"]][step % 3]!.includes(writes)
  )
}
