/**
 * The SQL of each operation. Results are taken by position and everything in them is text, so that neither an
 * application's type parsers nor its renaming of columns reach them.
 *
 * @internal
 */
import type { SqlClient } from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import * as PgArray from "./pgArray.ts"
import type { BlobRow, CheckpointRow, Found, WriteRow } from "./record.ts"
import type { Place, Store } from "./store.ts"

/** @internal */
export const quote = (identifier: string): string => `"${identifier.replaceAll('"', '""')}"`

/**
 * `byCodePoint`: the column's own collation orders ids by code point, so the primary key's index gives the latest one.
 * If not, the order has to be asked for, and an index of ours gives it (see `migrations.ts`).
 *
 * @internal
 */
export const make = (sql: SqlClient, schema: string, byCodePoint: boolean): Store<SqlError> => {
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

  // LIMIT 1 keeps the planner from joining the checkpoint's channels with all blobs of the thread: with it, each
  // channel costs one look-up by key, however long the history is.
  const get = (which: string) => `WITH found AS (
  SELECT checkpoint_id, parent_checkpoint_id, checkpoint, metadata
  FROM ${table("checkpoints")}
  WHERE thread_id = $1::text AND checkpoint_ns = $2::text ${which}
)
SELECT 'checkpoint', checkpoint_id, parent_checkpoint_id, checkpoint::text, metadata::text, NULL::text, NULL::text
FROM found
UNION ALL
SELECT 'blob', v.key, v.value, b.type, encode(b.blob, 'base64'), NULL, NULL
FROM found
CROSS JOIN LATERAL jsonb_each_text(found.checkpoint -> 'channel_versions') AS v
CROSS JOIN LATERAL (
  SELECT type, blob FROM ${table("checkpoint_blobs")}
  WHERE thread_id = $1::text AND checkpoint_ns = $2::text AND channel = v.key AND version = v.value
  LIMIT 1
) AS b
UNION ALL
SELECT 'write', w.task_id, w.channel, w.type, encode(w.blob, 'base64'), w.task_path, w.idx::text
FROM ${table("checkpoint_writes")} AS w
WHERE w.thread_id = $1::text AND w.checkpoint_ns = $2::text AND w.checkpoint_id = (SELECT checkpoint_id FROM found)`

  const getById = get("AND checkpoint_id = $3::text")
  const getLatest = get(`ORDER BY checkpoint_id ${byCodePoint ? "" : 'COLLATE "C" '}DESC LIMIT 1`)

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
      ]),
    get: (place, checkpointId) => {
      const parameters = [place.threadId, place.namespace]
      const statement =
        checkpointId === undefined
          ? sql.unsafe(getLatest, parameters)
          : sql.unsafe(getById, [...parameters, checkpointId])
      return Effect.map(statement.values, (rows) => read(place, rows))
    }
  }
}

const read = ({ namespace, threadId }: Place, rows: ReadonlyArray<ReadonlyArray<unknown>>): Found | undefined => {
  let checkpoint: CheckpointRow | undefined
  const blobs: Array<BlobRow> = []
  const writes: Array<WriteRow> = []
  for (const row of rows as ReadonlyArray<ReadonlyArray<string>>) {
    const [kind, a = "", b = "", c = "", d = "", e = "", f = ""] = row
    if (kind === "checkpoint") {
      checkpoint = { threadId, namespace, checkpointId: a, parentId: row[2] ?? null, checkpoint: c, metadata: d }
    } else if (kind === "blob") {
      // Through row[4]: a default would make a NULL blob an empty one.
      blobs.push({ channel: a, version: b, type: c, blob: row[4] == null ? null : Buffer.from(d, "base64") })
    } else {
      writes.push({ taskId: a, channel: b, type: c, blob: Buffer.from(d, "base64"), taskPath: e, idx: Number(f) })
    }
  }
  return checkpoint && { checkpoint, blobs, writes }
}
