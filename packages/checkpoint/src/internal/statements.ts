/**
 * The SQL of what writes. See `reads.ts` for what reads.
 *
 * @internal
 */
import type { SqlClient } from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import type { Batch } from "./lanes/batch.ts"
import * as Late from "./late.ts"
import * as PgArray from "./pgArray.ts"
import type { Store } from "./store.ts"

/** @internal */
export const quote = (identifier: string): string => `"${identifier.replaceAll('"', '""')}"`

/** @internal */
export interface Statements extends Pick<Store<SqlError>, "put" | "putWrites" | "deleteThread"> {
  /** All of it or nothing. */
  readonly batch: (batch: Batch) => Effect.Effect<void, SqlError>
}

/** @internal */
export const make = (sql: SqlClient, schema: string): Statements => {
  const table = (name: string) => `${quote(schema)}.${name}`

  // Fails where what is referred to was deleted (see `late.ts`), and is NULL otherwise. It has to come from the row that is
  // found: a constant would fail when the statement is planned.
  const unlessLate = (threadId: string, namespace: string, checkpointId: string) =>
    `SELECT ('${Late.mark}' || d.thread_id)::int::text
  FROM ${table("checkpool_deleted_threads")} AS d
  WHERE d.thread_id = ${threadId} AND ${checkpointId} <= d.last_checkpoint_id AND NOT EXISTS (
    SELECT FROM ${table("checkpoints")} AS k
    WHERE k.thread_id = ${threadId} AND k.checkpoint_ns = ${namespace} AND k.checkpoint_id = ${checkpointId}
  )`

  const put = `WITH blobs AS (
  INSERT INTO ${table("checkpoint_blobs")} (thread_id, checkpoint_ns, channel, version, type, blob)
  SELECT $1::text, $2::text, b.channel, b.version, b.type, b.blob
  FROM unnest($7::text[], $8::text[], $9::text[], $10::bytea[]) AS b (channel, version, type, blob)
  ON CONFLICT (thread_id, checkpoint_ns, channel, version) DO NOTHING
)
INSERT INTO ${table("checkpoints")} (thread_id, checkpoint_ns, checkpoint_id, parent_checkpoint_id, checkpoint, metadata)
VALUES ($1::text, $2::text, $3::text, coalesce((${unlessLate("$1::text", "$2::text", "$4::text")}), $4::text),
  $5::jsonb, $6::jsonb)
ON CONFLICT (thread_id, checkpoint_ns, checkpoint_id)
DO UPDATE SET checkpoint = EXCLUDED.checkpoint, metadata = EXCLUDED.metadata`

  const putWrites = `INSERT INTO ${table("checkpoint_writes")} AS old
  (thread_id, checkpoint_ns, checkpoint_id, task_id, idx, channel, type, blob, task_path)
SELECT $1::text, $2::text, coalesce((${unlessLate("$1::text", "$2::text", "$3::text")}), $3::text),
  w.task_id, w.idx, w.channel, w.type, w.blob, w.task_path
FROM unnest($4::text[], $5::int[], $6::text[], $7::text[], $8::bytea[], $9::text[])
  AS w (task_id, idx, channel, type, blob, task_path)
ON CONFLICT (thread_id, checkpoint_ns, checkpoint_id, task_id, idx)
DO UPDATE SET channel = EXCLUDED.channel, type = EXCLUDED.type, blob = EXCLUDED.blob WHERE old.idx < 0`

  // For all that the batch refers to. LATERAL and OFFSET keep the look-up by key.
  const unlessAnyIsLate = `SELECT late.found
  FROM unnest($22::text[], $23::text[], $24::text[]) AS r (thread_id, checkpoint_ns, checkpoint_id)
  CROSS JOIN LATERAL (${unlessLate("r.thread_id", "r.checkpoint_ns", "r.checkpoint_id")} OFFSET 0) AS late (found)
  LIMIT 1`

  const batch = `WITH blobs AS (
  INSERT INTO ${table("checkpoint_blobs")} (thread_id, checkpoint_ns, channel, version, type, blob)
  SELECT * FROM unnest($7::text[], $8::text[], $9::text[], $10::text[], $11::text[], $12::bytea[])
  ON CONFLICT (thread_id, checkpoint_ns, channel, version) DO NOTHING
), writes AS (
  INSERT INTO ${table("checkpoint_writes")} AS old
    (thread_id, checkpoint_ns, checkpoint_id, task_id, idx, channel, type, blob, task_path)
  SELECT coalesce((${unlessAnyIsLate}), w.thread_id), w.checkpoint_ns, w.checkpoint_id, w.task_id, w.idx, w.channel, w.type,
    w.blob, w.task_path
  FROM unnest($13::text[], $14::text[], $15::text[], $16::text[], $17::int[], $18::text[], $19::text[], $20::bytea[], $21::text[])
    AS w (thread_id, checkpoint_ns, checkpoint_id, task_id, idx, channel, type, blob, task_path)
  ON CONFLICT (thread_id, checkpoint_ns, checkpoint_id, task_id, idx)
  DO UPDATE SET channel = EXCLUDED.channel, type = EXCLUDED.type, blob = EXCLUDED.blob WHERE old.idx < 0
)
INSERT INTO ${table("checkpoints")} (thread_id, checkpoint_ns, checkpoint_id, parent_checkpoint_id, checkpoint, metadata)
SELECT coalesce((${unlessAnyIsLate}), c.thread_id), c.checkpoint_ns, c.checkpoint_id, c.parent_checkpoint_id,
  c.checkpoint::jsonb, c.metadata::jsonb
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[])
  AS c (thread_id, checkpoint_ns, checkpoint_id, parent_checkpoint_id, checkpoint, metadata)
ON CONFLICT (thread_id, checkpoint_ns, checkpoint_id)
DO UPDATE SET checkpoint = EXCLUDED.checkpoint, metadata = EXCLUDED.metadata`

  // In one statement, so of whatever is committed meanwhile it takes all or nothing.
  const deleteThread = `WITH blobs AS (
  DELETE FROM ${table("checkpoint_blobs")} WHERE thread_id = $1::text
), writes AS (
  DELETE FROM ${table("checkpoint_writes")} WHERE thread_id = $1::text RETURNING checkpoint_id
), checkpoints AS (
  DELETE FROM ${table("checkpoints")} WHERE thread_id = $1::text RETURNING checkpoint_id
), retired AS (
  DELETE FROM ${table("checkpool_retired_values")} WHERE thread_id = $1::text
), forgotten AS (
  DELETE FROM ${table("checkpool_deleted_threads")} WHERE thread_id IN (
    SELECT thread_id FROM ${table("checkpool_deleted_threads")}
    WHERE deleted_at < now() - interval '${Late.memory}' AND thread_id <> $1::text
    ORDER BY deleted_at LIMIT 100 FOR UPDATE SKIP LOCKED
  )
)
INSERT INTO ${table("checkpool_deleted_threads")} AS old (thread_id, last_checkpoint_id)
SELECT $1::text, max(checkpoint_id COLLATE "C")
FROM (SELECT checkpoint_id FROM checkpoints UNION ALL SELECT checkpoint_id FROM writes) AS gone
HAVING count(*) > 0
ON CONFLICT (thread_id) DO UPDATE
SET last_checkpoint_id = greatest(old.last_checkpoint_id, EXCLUDED.last_checkpoint_id), deleted_at = now()`

  const execute = (statement: string, parameters: ReadonlyArray<unknown>) =>
    Effect.asVoid(sql.unsafe(statement, parameters).values)

  return {
    put: ({ blobs, checkpoint }) =>
      execute(put, [
        checkpoint.threadId,
        checkpoint.namespace,
        checkpoint.checkpointId,
        checkpoint.parentId,
        checkpoint.checkpoint,
        checkpoint.metadata,
        PgArray.text(blobs.map(({ channel }) => channel)),
        PgArray.text(blobs.map(({ version }) => version)),
        PgArray.text(blobs.map(({ type }) => type)),
        PgArray.bytea(blobs.map(({ blob }) => blob))
      ]),
    putWrites: ({ key: { checkpointId, namespace, threadId }, rows }) =>
      execute(putWrites, [
        threadId,
        namespace,
        checkpointId,
        PgArray.text(rows.map(({ taskId }) => taskId)),
        PgArray.int4(rows.map(({ idx }) => idx)),
        PgArray.text(rows.map(({ channel }) => channel)),
        PgArray.text(rows.map(({ type }) => type)),
        PgArray.bytea(rows.map(({ blob }) => blob)),
        PgArray.text(rows.map(({ taskPath }) => taskPath))
      ]),
    deleteThread: (threadId) => execute(deleteThread, [threadId]),
    batch: ({ blobs, checkpoints, refs, writes }) =>
      execute(batch, [
        PgArray.text(checkpoints.map(({ threadId }) => threadId)),
        PgArray.text(checkpoints.map(({ namespace }) => namespace)),
        PgArray.text(checkpoints.map(({ checkpointId }) => checkpointId)),
        PgArray.text(checkpoints.map(({ parentId }) => parentId)),
        PgArray.text(checkpoints.map(({ checkpoint }) => checkpoint)),
        PgArray.text(checkpoints.map(({ metadata }) => metadata)),
        PgArray.text(blobs.map(({ place }) => place.threadId)),
        PgArray.text(blobs.map(({ place }) => place.namespace)),
        PgArray.text(blobs.map(({ row }) => row.channel)),
        PgArray.text(blobs.map(({ row }) => row.version)),
        PgArray.text(blobs.map(({ row }) => row.type)),
        PgArray.bytea(blobs.map(({ row }) => row.blob)),
        PgArray.text(writes.map(({ key }) => key.threadId)),
        PgArray.text(writes.map(({ key }) => key.namespace)),
        PgArray.text(writes.map(({ key }) => key.checkpointId)),
        PgArray.text(writes.map(({ row }) => row.taskId)),
        PgArray.int4(writes.map(({ row }) => row.idx)),
        PgArray.text(writes.map(({ row }) => row.channel)),
        PgArray.text(writes.map(({ row }) => row.type)),
        PgArray.bytea(writes.map(({ row }) => row.blob)),
        PgArray.text(writes.map(({ row }) => row.taskPath)),
        PgArray.text(refs.map(({ threadId }) => threadId)),
        PgArray.text(refs.map(({ namespace }) => namespace)),
        PgArray.text(refs.map(({ checkpointId }) => checkpointId))
      ])
  }
}
