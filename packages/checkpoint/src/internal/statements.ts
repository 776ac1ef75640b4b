/**
 * The SQL of what writes. See `reads.ts` for what reads.
 *
 * @internal
 */
import type { SqlClient } from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import * as PgArray from "./pgArray.ts"
import type { Store } from "./store.ts"

/** @internal */
export const quote = (identifier: string): string => `"${identifier.replaceAll('"', '""')}"`

/** @internal */
export const make = (sql: SqlClient, schema: string): Pick<Store<SqlError>, "put" | "putWrites"> => {
  const table = (name: string) => `${quote(schema)}.${name}`

  const put = `WITH blobs AS (
  INSERT INTO ${table("checkpoint_blobs")} (thread_id, checkpoint_ns, channel, version, type, blob)
  SELECT $1::text, $2::text, b.channel, b.version, b.type, b.blob
  FROM unnest($7::text[], $8::text[], $9::text[], $10::bytea[]) AS b (channel, version, type, blob)
  ON CONFLICT (thread_id, checkpoint_ns, channel, version) DO NOTHING
)
INSERT INTO ${table("checkpoints")} (thread_id, checkpoint_ns, checkpoint_id, parent_checkpoint_id, checkpoint, metadata)
VALUES ($1::text, $2::text, $3::text, $4::text, $5::jsonb, $6::jsonb)
ON CONFLICT (thread_id, checkpoint_ns, checkpoint_id)
DO UPDATE SET checkpoint = EXCLUDED.checkpoint, metadata = EXCLUDED.metadata`

  const putWrites = `INSERT INTO ${table("checkpoint_writes")} AS old
  (thread_id, checkpoint_ns, checkpoint_id, task_id, idx, channel, type, blob, task_path)
SELECT $1::text, $2::text, $3::text, w.task_id, w.idx, w.channel, w.type, w.blob, w.task_path
FROM unnest($4::text[], $5::int[], $6::text[], $7::text[], $8::bytea[], $9::text[])
  AS w (task_id, idx, channel, type, blob, task_path)
ON CONFLICT (thread_id, checkpoint_ns, checkpoint_id, task_id, idx)
DO UPDATE SET channel = EXCLUDED.channel, type = EXCLUDED.type, blob = EXCLUDED.blob WHERE old.idx < 0`

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
    putWrites: ({ checkpointId, namespace, threadId }, rows) =>
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
      ])
  }
}
