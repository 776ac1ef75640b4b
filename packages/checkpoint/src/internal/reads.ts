/**
 * The SQL of what reads. Results are taken by position and everything in them is text, so that neither an
 * application's type parsers nor its renaming of columns reach them.
 *
 * @internal
 */
import type { SqlClient } from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import type { BlobRow, CheckpointRow, Found, WriteRow } from "./record.ts"
import { quote } from "./statements.ts"
import type { PageQuery, Place, Store } from "./store.ts"

/**
 * `byCodePoint`: the column's own collation orders ids by code point, so the primary key's index gives the latest one.
 * If not, the order has to be asked for, and an index of ours gives it (see `migrations.ts`).
 *
 * @internal
 */
export const make = (sql: SqlClient, schema: string, byCodePoint: boolean): Pick<Store<SqlError>, "get" | "page"> => {
  const table = (name: string) => `${quote(schema)}.${name}`
  const c = byCodePoint ? "" : ' COLLATE "C"'

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
  const getLatest = get(`ORDER BY checkpoint_id${c} DESC LIMIT 1`)

  const columns = "thread_id, checkpoint_ns, checkpoint_id, parent_checkpoint_id, checkpoint, metadata"

  // The keys of a page come first, from an index where there is one. Only then is looked up what belongs to them: a
  // blob once, however many of the page's checkpoints name it.
  const page = (query: PageQuery): readonly [statement: string, parameters: ReadonlyArray<unknown>] => {
    const { after, checkpointId, filter, namespace, size, threadId, values, writes } = query
    const parameters: Array<unknown> = []
    const parameter = (value: unknown, type: string) => `$${parameters.push(value)}::${type}`
    const inOnePlace = threadId !== undefined && namespace !== undefined
    const thread = threadId === undefined ? undefined : parameter(threadId, "text")
    const limit = parameter(size, "int")

    const conditions: Array<string> = []
    if (thread !== undefined) conditions.push(`thread_id = ${thread}`)
    if (checkpointId !== undefined) conditions.push(`checkpoint_id = ${parameter(checkpointId, "text")}`)
    if (filter !== undefined) conditions.push(`metadata @> ${parameter(filter, "jsonb")}`)
    if (typeof after === "string" || (after !== undefined && inOnePlace)) {
      const id = typeof after === "string" ? after : after.checkpointId
      conditions.push(`checkpoint_id${c} < ${parameter(id, "text")}`)
    } else if (after !== undefined) {
      const key = [after.checkpointId, after.threadId, after.namespace].map((each) => parameter(each, "text"))
      conditions.push(`(checkpoint_id${c}, thread_id${c}, checkpoint_ns${c}) < (${key.join(", ")})`)
      // An index on the id that goes on with the namespace alone can make use of this.
      conditions.push(`checkpoint_id${c} <= ${key[0]}`)
    }
    const newest = (...more: ReadonlyArray<string>) => {
      const where = [...conditions, ...more]
      return `SELECT ${columns} FROM ${table("checkpoints")}${where.length === 0 ? "" : ` WHERE ${where.join(" AND ")}`}
  ORDER BY checkpoint_id${c} DESC${inOnePlace ? "" : `, thread_id${c} DESC, checkpoint_ns${c} DESC`} LIMIT ${limit}`
    }

    const ctes: Array<string> = []
    if (namespace !== undefined) {
      ctes.push(`page AS MATERIALIZED (${newest(`checkpoint_ns = ${parameter(namespace, "text")}`)})`)
    } else if (thread === undefined) {
      ctes.push(`page AS MATERIALIZED (${newest()})`)
    } else {
      // Within each namespace the index gives the newest at once, so a few namespaces are asked one by one. Many small
      // ones, as sub-graphs make them, are cheaper to read through.
      const next = (after: string) =>
        `SELECT checkpoint_ns FROM ${table("checkpoints")} WHERE thread_id = ${thread}${after} ORDER BY checkpoint_ns LIMIT 1`
      ctes.push(
        `spaces AS (
  (${next("")})
  UNION ALL
  SELECT (${next(" AND checkpoint_ns > spaces.checkpoint_ns")}) FROM spaces WHERE spaces.checkpoint_ns IS NOT NULL
)`,
        `few AS MATERIALIZED (SELECT checkpoint_ns FROM spaces WHERE checkpoint_ns IS NOT NULL LIMIT ${fewNamespaces + 1})`,
        `page AS MATERIALIZED (
  SELECT * FROM (
    SELECT newest.* FROM few CROSS JOIN LATERAL (${newest("checkpoint_ns = few.checkpoint_ns")}) AS newest
    WHERE (SELECT count(*) FROM few) <= ${fewNamespaces}
    UNION ALL
    (${newest(`(SELECT count(*) FROM few) > ${fewNamespaces}`)})
  ) AS either
  ORDER BY checkpoint_id${c} DESC, thread_id${c} DESC, checkpoint_ns${c} DESC LIMIT ${limit}
)`
      )
    }
    ctes.push("numbered AS MATERIALIZED (SELECT (row_number() OVER ())::text AS n, page.* FROM page)")

    const parts = [
      `SELECT 'checkpoint', n, thread_id, checkpoint_ns, checkpoint_id, parent_checkpoint_id, checkpoint::text, metadata::text
FROM numbered`
    ]
    if (values) {
      parts.push(`SELECT 'blob', named.n, named.channel, named.version, b.type, encode(b.blob, 'base64'), NULL, NULL
FROM (
  SELECT string_agg(p.n, ',') AS n, p.thread_id, p.checkpoint_ns, v.key AS channel, v.value AS version
  FROM numbered AS p CROSS JOIN LATERAL jsonb_each_text(p.checkpoint -> 'channel_versions') AS v
  GROUP BY p.thread_id, p.checkpoint_ns, v.key, v.value
) AS named
CROSS JOIN LATERAL (
  SELECT type, blob FROM ${table("checkpoint_blobs")}
  WHERE thread_id = named.thread_id AND checkpoint_ns = named.checkpoint_ns
    AND channel = named.channel AND version = named.version
  LIMIT 1
) AS b`)
    }
    if (writes) {
      // OFFSET 0 keeps the look-up by key, as LIMIT 1 does above.
      parts.push(`SELECT 'write', p.n, w.task_id, w.channel, w.type, encode(w.blob, 'base64'), w.task_path, w.idx::text
FROM numbered AS p
CROSS JOIN LATERAL (
  SELECT * FROM ${table("checkpoint_writes")}
  WHERE thread_id = p.thread_id AND checkpoint_ns = p.checkpoint_ns AND checkpoint_id = p.checkpoint_id
  OFFSET 0
) AS w`)
    }
    return [`WITH RECURSIVE ${ctes.join(",\n")}\n${parts.join("\nUNION ALL\n")}`, parameters]
  }

  return {
    get: (place, checkpointId) => {
      const parameters = [place.threadId, place.namespace]
      const statement =
        checkpointId === undefined
          ? sql.unsafe(getLatest, parameters)
          : sql.unsafe(getById, [...parameters, checkpointId])
      return Effect.map(statement.values, (rows) => readOne(place, rows as Rows))
    },
    page: (query) => Effect.map(sql.unsafe(...page(query)).values, (rows) => readPage(rows as Rows))
  }
}

const fewNamespaces = 32

type Rows = ReadonlyArray<ReadonlyArray<string | null>>

// A type says so when it is not there: a default would make a NULL blob an empty one.
const blobOf = (base64: string | null | undefined): Buffer | null => (base64 == null ? null : bytesOf(base64))

const bytesOf = (base64: string): Buffer => Buffer.from(base64, "base64")

const readOne = ({ namespace, threadId }: Place, rows: Rows): Found | undefined => {
  let checkpoint: CheckpointRow | undefined
  const blobs: Array<BlobRow> = []
  const writes: Array<WriteRow> = []
  for (const row of rows as ReadonlyArray<ReadonlyArray<string>>) {
    const [kind, a = "", b = "", c = "", d = "", e = "", f = ""] = row
    if (kind === "checkpoint") {
      checkpoint = { threadId, namespace, checkpointId: a, parentId: row[2] ?? null, checkpoint: c, metadata: d }
    } else if (kind === "blob") {
      blobs.push({ channel: a, version: b, type: c, blob: blobOf(row[4]) })
    } else {
      writes.push({ taskId: a, channel: b, type: c, blob: bytesOf(d), taskPath: e, idx: Number(f) })
    }
  }
  return checkpoint && { checkpoint, blobs, writes }
}

const readPage = (rows: Rows): ReadonlyArray<Found> => {
  const found = new Map<string, { checkpoint: CheckpointRow; blobs: Array<BlobRow>; writes: Array<WriteRow> }>()
  // Rows arrive part by part, so the checkpoints come first.
  for (const row of rows as ReadonlyArray<ReadonlyArray<string>>) {
    const [kind, n = "", a = "", b = "", c = "", d = "", e = "", f = ""] = row
    if (kind === "checkpoint") {
      const checkpoint = {
        threadId: a,
        namespace: b,
        checkpointId: c,
        parentId: row[5] ?? null,
        checkpoint: e,
        metadata: f
      }
      found.set(n, { checkpoint, blobs: [], writes: [] })
    } else if (kind === "blob") {
      const blob = { channel: a, version: b, type: c, blob: blobOf(row[5]) }
      for (const each of n.split(",")) found.get(each)?.blobs.push(blob)
    } else {
      const write = { taskId: a, channel: b, type: c, blob: bytesOf(d), taskPath: e, idx: Number(f) }
      found.get(n)?.writes.push(write)
    }
  }
  return [...found.values()]
}
