/**
 * The SQL of what writes. See `reads.ts` for what reads.
 *
 * @internal
 */
import type { SqlClient } from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import type { Key } from "../Checkpoint.ts"
import * as Batch from "./lanes/batch.ts"
import * as Late from "./late.ts"
import * as Fence from "./lease/fence.ts"
import * as PgArray from "./pgArray.ts"
import type { Store } from "./store.ts"

/** @internal */
export const quote = (identifier: string): string => `"${identifier.replaceAll('"', '""')}"`

/** @internal */
export interface Statements extends Pick<Store<SqlError>, "put" | "putWrites" | "deleteThread"> {
  /** All of it or nothing; nothing if the claim of a lease is given that is not in force (see `lease/fence.ts`). */
  readonly batch: (batch: Batch.Batch, claim?: string) => Effect.Effect<void, SqlError>
}

/** @internal */
export const make = (sql: SqlClient, schema: string): Statements => {
  const table = (name: string) => `${quote(schema)}.${name}`

  // Fails where what is referred to was deleted (see `late.ts`), and is NULL otherwise. It has to come from the row that is
  // found: a constant would fail when the statement is planned.
  const unlessLate = (threadId: string, namespace: string, checkpointId: string, own = checkpointId) =>
    `SELECT ('${Late.mark}' || d.thread_id)::int::text
  FROM ${table("checkpool_deleted_threads")} AS d
  WHERE d.thread_id = ${threadId} AND ${checkpointId} <= d.last_checkpoint_id AND NOT EXISTS (
    SELECT FROM ${table("checkpoints")} AS k
    WHERE k.thread_id = ${threadId} AND k.checkpoint_ns = ${namespace} AND k.checkpoint_id IN (${checkpointId}, ${own})
  )`

  // As a row for each blob: a few parameters more are cheaper than arrays.
  const put = remembered((blobs: number) => {
    const rows = Array.from({ length: blobs }, (_, row) => {
      const [channel, version, type, blob] = [7, 8, 9, 10].map((first) => `$${first + 4 * row}`)
      return `($1::text, $2::text, ${channel}::text, ${version}::text, ${type}::text, ${blob}::bytea)`
    })
    const insertBlobs = `WITH blobs AS (
  INSERT INTO ${table("checkpoint_blobs")} (thread_id, checkpoint_ns, channel, version, type, blob)
  VALUES ${rows.join(",\n    ")}
  ON CONFLICT (thread_id, checkpoint_ns, channel, version) DO NOTHING
)
`
    return `${blobs === 0 ? "" : insertBlobs}INSERT INTO ${table("checkpoints")}
  (thread_id, checkpoint_ns, checkpoint_id, parent_checkpoint_id, checkpoint, metadata)
VALUES ($1::text, $2::text, $3::text, coalesce((${unlessLate("$1::text", "$2::text", "$4::text", "$3::text")}), $4::text),
  $5::jsonb, $6::jsonb)
ON CONFLICT (thread_id, checkpoint_ns, checkpoint_id)
DO UPDATE SET checkpoint = EXCLUDED.checkpoint, metadata = EXCLUDED.metadata`
  })

  const putWrites = `INSERT INTO ${table("checkpoint_writes")} AS old
  (thread_id, checkpoint_ns, checkpoint_id, task_id, idx, channel, type, blob, task_path)
SELECT $1::text, $2::text, coalesce((${unlessLate("$1::text", "$2::text", "$3::text")}), $3::text),
  ${columnsFrom(4, "text", "int", "text", "text", "bytea", "text")}
ON CONFLICT (thread_id, checkpoint_ns, checkpoint_id, task_id, idx)
DO UPDATE SET channel = EXCLUDED.channel, type = EXCLUDED.type, blob = EXCLUDED.blob WHERE old.idx < 0`

  const insertBlobs = (first: number) => `INSERT INTO ${table("checkpoint_blobs")}
    (thread_id, checkpoint_ns, channel, version, type, blob)
  SELECT ${columnsFrom(first, "text", "text", "text", "text", "text", "bytea")}
  ON CONFLICT (thread_id, checkpoint_ns, channel, version) DO NOTHING`

  const insertWrites = (first: number, threadId: string) => `INSERT INTO ${table("checkpoint_writes")} AS old
    (thread_id, checkpoint_ns, checkpoint_id, task_id, idx, channel, type, blob, task_path)
  SELECT ${threadId}, w.checkpoint_ns, w.checkpoint_id, w.task_id, w.idx, w.channel, w.type, w.blob, w.task_path
  FROM (SELECT ${columnsFrom(first, "text", "text", "text", "text", "int", "text", "text", "bytea", "text")})
    AS w (thread_id, checkpoint_ns, checkpoint_id, task_id, idx, channel, type, blob, task_path)
  ON CONFLICT (thread_id, checkpoint_ns, checkpoint_id, task_id, idx)
  DO UPDATE SET channel = EXCLUDED.channel, type = EXCLUDED.type, blob = EXCLUDED.blob WHERE old.idx < 0`

  const insertCheckpoints = (first: number, threadId: string) => `INSERT INTO ${table("checkpoints")}
  (thread_id, checkpoint_ns, checkpoint_id, parent_checkpoint_id, checkpoint, metadata)
SELECT ${threadId}, c.checkpoint_ns, c.checkpoint_id, c.parent_checkpoint_id, c.checkpoint::jsonb, c.metadata::jsonb
FROM (SELECT ${columnsFrom(first, "text", "text", "text", "text", "text", "text")})
  AS c (thread_id, checkpoint_ns, checkpoint_id, parent_checkpoint_id, checkpoint, metadata)
ON CONFLICT (thread_id, checkpoint_ns, checkpoint_id)
DO UPDATE SET checkpoint = EXCLUDED.checkpoint, metadata = EXCLUDED.metadata`

  // For all that the batch refers to, once: the parameters are arrays of threads, namespaces, what is referred to, and one's
  // own. LATERAL and OFFSET keep the look-up by key.
  const unlessAnyIsLate = (parameters: ReadonlyArray<number>) => `(
    SELECT late.found FROM (SELECT ${parameters.map((parameter) => `unnest($${parameter}::text[])`).join(", ")})
      AS r (thread_id, checkpoint_ns, checkpoint_id, own_id)
    CROSS JOIN LATERAL (${unlessLate("r.thread_id", "r.checkpoint_ns", "r.checkpoint_id", "r.own_id")} OFFSET 0) AS late (found)
    LIMIT 1
  )`

  // For each table only if there is something for it: to begin an insertion costs as much as to insert a few rows. Without
  // writes, what is referred to are the parents of the checkpoints.
  const batches = (unlessLost: (claim: number) => string) => ({
    checkpoints: `WITH blobs AS (${insertBlobs(7)})
${insertCheckpoints(1, `coalesce(${unlessLost(13)}${unlessAnyIsLate([1, 2, 4, 3])}, c.thread_id)`)}`,
    writes: insertWrites(1, `coalesce(${unlessLost(14)}${unlessAnyIsLate([10, 11, 12, 13])}, w.thread_id)`),
    both: `WITH blobs AS (${insertBlobs(7)}), writes AS (${insertWrites(13, "w.thread_id")})
${insertCheckpoints(1, `coalesce(${unlessLost(26)}${unlessAnyIsLate([22, 23, 24, 25])}, c.thread_id)`)}`
  })
  const batchOf = batches(() => "")
  const fencedBatchOf = batches((claim) => `${Fence.unlessLost(table(Fence.table), `$${claim}::text`)}, `)

  // In one statement, so of whatever is committed meanwhile it takes all or nothing.
  const deleteThread = `WITH blobs AS (
  DELETE FROM ${table("checkpoint_blobs")} WHERE thread_id = $1::text
), writes AS (
  DELETE FROM ${table("checkpoint_writes")} WHERE thread_id = $1::text RETURNING checkpoint_id
), checkpoints AS (
  DELETE FROM ${table("checkpoints")} WHERE thread_id = $1::text RETURNING checkpoint_id
), retired AS (
  DELETE FROM ${table("checkpool_retired_values")} WHERE thread_id = $1::text
), retention AS (
  DELETE FROM ${table("checkpool_retention")} WHERE thread_id = $1::text
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

  // Whatever it gives is nobody's business; to map it to nothing would take a step of each statement.
  const execute = (statement: string, parameters: ReadonlyArray<unknown>) =>
    sql.unsafe(statement, parameters).raw as Effect.Effect<void, SqlError>

  const executeBatch = (statement: string, parameters: ReadonlyArray<unknown>) =>
    Effect.map(execute(statement, parameters), () => PgArray.giveBack(parameters))

  const batch: Statements["batch"] = ({ blobs, checkpoints, refs, writes }, claim) => {
    const statement = claim === undefined ? batchOf : fencedBatchOf
    const claimed = claim === undefined ? [] : [claim]
    if (checkpoints.length === 0) {
      return executeBatch(statement.writes, [...ofWrites(writes), ...ofRefs(refs), ...claimed])
    }
    const parameters = [...ofCheckpoints(checkpoints), ...ofBlobs(blobs)]
    return writes.length === 0
      ? executeBatch(statement.checkpoints, [...parameters, ...claimed])
      : executeBatch(statement.both, [...parameters, ...ofWrites(writes), ...ofRefs(refs), ...claimed])
  }

  return {
    put: (rows) => {
      const { blobs, checkpoint } = rows
      if (blobs.length > maxSeparate) return batch(Batch.merge([Batch.put(rows)]))
      const { checkpointId, metadata, namespace, parentId, threadId } = checkpoint
      const parameters: Array<unknown> = [threadId, namespace, checkpointId, parentId, checkpoint.checkpoint, metadata]
      for (const { blob, channel, type, version } of blobs) parameters.push(channel, version, type, toBuffer(blob))
      return execute(put(blobs.length), parameters)
    },
    putWrites: ({ key: { checkpointId, namespace, threadId }, rows }) =>
      execute(putWrites, [
        threadId,
        namespace,
        checkpointId,
        PgArray.text(rows, ({ taskId }) => taskId),
        PgArray.int4(rows, ({ idx }) => idx),
        PgArray.text(rows, ({ channel }) => channel),
        PgArray.text(rows, ({ type }) => type),
        PgArray.bytea(rows, ({ blob }) => blob),
        PgArray.text(rows, ({ taskPath }) => taskPath)
      ]),
    deleteThread: (threadId) => Effect.asVoid(execute(deleteThread, [threadId])),
    batch
  }
}

/** Blobs of a put. For each number up to this one there is a statement to be prepared. */
const maxSeparate = 8

/** Columns that are arrays, these being parameters from `first` on. In FROM each of them would be copied first. */
const columnsFrom = (first: number, ...types: ReadonlyArray<string>): string =>
  types.map((type, i) => `unnest($${first + i}::${type}[])`).join(", ")

const remembered = (make: (count: number) => string): ((count: number) => string) => {
  const made: Array<string> = []
  return (count) => (made[count] ??= make(count))
}

// What consists of these and of texts alone goes the pool's short way to the server.
const toBuffer = (bytes: Uint8Array | null): Buffer | null =>
  bytes === null || Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)

const ofKeys = (keys: ReadonlyArray<Key>): ReadonlyArray<Buffer> => [
  PgArray.text(keys, ({ threadId }) => threadId),
  PgArray.text(keys, ({ namespace }) => namespace),
  PgArray.text(keys, ({ checkpointId }) => checkpointId)
]

const ofRefs = (refs: Batch.Batch["refs"]): ReadonlyArray<Buffer> => [
  ...ofKeys(refs),
  PgArray.text(refs, ({ own }) => own)
]

const ofCheckpoints = (rows: Batch.Batch["checkpoints"]): ReadonlyArray<Buffer> => [
  ...ofKeys(rows),
  PgArray.text(rows, ({ parentId }) => parentId),
  PgArray.text(rows, ({ checkpoint }) => checkpoint),
  PgArray.text(rows, ({ metadata }) => metadata)
]

const ofBlobs = (rows: Batch.Batch["blobs"]): ReadonlyArray<Buffer> => [
  PgArray.text(rows, ({ place }) => place.threadId),
  PgArray.text(rows, ({ place }) => place.namespace),
  PgArray.text(rows, ({ row }) => row.channel),
  PgArray.text(rows, ({ row }) => row.version),
  PgArray.text(rows, ({ row }) => row.type),
  PgArray.bytea(rows, ({ row }) => row.blob)
]

const ofWrites = (rows: Batch.Batch["writes"]): ReadonlyArray<Buffer> => [
  ...ofKeys(rows.map(({ key }) => key)),
  PgArray.text(rows, ({ row }) => row.taskId),
  PgArray.int4(rows, ({ row }) => row.idx),
  PgArray.text(rows, ({ row }) => row.channel),
  PgArray.text(rows, ({ row }) => row.type),
  PgArray.bytea(rows, ({ row }) => row.blob),
  PgArray.text(rows, ({ row }) => row.taskPath)
]
