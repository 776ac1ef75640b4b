/**
 * The SQL of what reads. Results are taken by position and everything in them is text, so that neither an
 * application's type parsers nor its renaming of columns reach them.
 *
 * @internal
 */
import type { SqlClient } from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import { someWithCode } from "./causes.ts"
import type { Ancestor } from "./deltaHistory.ts"
import { inTransaction } from "./inTransaction.ts"
import * as Jsonb from "./jsonb.ts"
import * as PgArray from "./pgArray.ts"
import type { BlobRow, CheckpointRow, Found, FoundBlob, WriteRow } from "./rows.ts"
import { quote } from "./statements.ts"
import type { PageQuery, Place, Store } from "./store.ts"

/**
 * `byCodePoint`: the column's own collation orders ids by code point, so the primary key's index gives the latest one.
 * If not, the order has to be asked for, and an index of ours gives it (see `migrations.ts`).
 *
 * @internal
 */
export const make = (
  sql: SqlClient,
  schema: string,
  byCodePoint: boolean
): Pick<Store<SqlError>, "get" | "page" | "writesTo" | "ancestors"> => {
  const table = (name: string) => `${quote(schema)}.${name}`
  const c = byCodePoint ? "" : ' COLLATE "C"'

  // LIMIT 1 keeps the planner from joining the checkpoint's channels with all blobs of the thread: with it, each
  // channel costs one look-up by key, however long the history is.
  const get = (which: string, value: string) => `WITH found AS (
  SELECT checkpoint_id, parent_checkpoint_id, checkpoint, metadata
  FROM ${table("checkpoints")}
  WHERE thread_id = $1::text AND checkpoint_ns = $2::text ${which}
)
SELECT 'checkpoint', checkpoint_id, parent_checkpoint_id, checkpoint::text, metadata::text, NULL::text, NULL::text
FROM found
UNION ALL
SELECT 'blob', v.key, v.value, b.type, ${value}, NULL, NULL
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

  const inBase64 = "encode(b.blob, 'base64')"
  const getBoth = (value: string, toBlob: (row: Row) => FoundBlob) => ({
    byId: get("AND checkpoint_id = $3::text", value),
    latest: get(`ORDER BY checkpoint_id${c} DESC LIMIT 1`, value),
    toBlob
  })
  const getBytes = getBoth(inBase64, (row) => toBlob(row, 1))
  // Shorter than in Base64, and need not become bytes before it is parsed. What is no text lets the statement fail: it is an
  // error in the server's log, so after the first one no text is asked for any more.
  let areTexts = true
  const getTexts = getBoth(`CASE WHEN b.type = 'json' THEN convert_from(b.blob, 'UTF8') ELSE ${inBase64} END`, (row) =>
    row[3] === "json" ? toText(row, 1) : toBlob(row, 1)
  )

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

  const writesTo = `SELECT k.n::text, w.task_id, w.channel, w.type, encode(w.blob, 'base64'), w.task_path, w.idx::text
FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY AS k (thread_id, checkpoint_ns, checkpoint_id, n)
CROSS JOIN LATERAL (
  SELECT * FROM ${table("checkpoint_writes")}
  WHERE thread_id = k.thread_id AND checkpoint_ns = k.checkpoint_ns AND checkpoint_id = k.checkpoint_id
    AND channel = $4::text
  OFFSET 0
) AS w`

  // Goes from parent to parent with the channels that still wait for a value. UNION, not UNION ALL: in a circle the
  // same row comes again and ends it. A checkpoint with a text of its own (see `jsonb.ts`) may look as if it had values
  // that it hasn't, so those in it don't count here.
  const ancestors = (which: string) => `WITH RECURSIVE chain AS (
  (
    SELECT NULL::text AS id, parent_checkpoint_id AS parent, NULL::text[] AS came, $3::text[] AS waiting
    FROM ${table("checkpoints")}
    WHERE thread_id = $1::text AND checkpoint_ns = $2::text ${which}
  )
  UNION
  SELECT c.checkpoint_id, c.parent_checkpoint_id, chain.waiting, ARRAY(
    SELECT channel FROM unnest(chain.waiting) AS w (channel)
    WHERE NOT EXISTS (
      SELECT FROM ${table("checkpoint_blobs")} AS b
      WHERE b.thread_id = $1::text AND b.checkpoint_ns = $2::text AND b.channel = w.channel
        AND b.version = c.checkpoint -> 'channel_versions' ->> w.channel AND b.blob IS NOT NULL
    )
    AND NOT coalesce(c.checkpoint -> 'channel_values' ? w.channel AND NOT c.checkpoint ? '${Jsonb.exactKey}', false)
  )
  FROM chain
  CROSS JOIN LATERAL (
    SELECT * FROM ${table("checkpoints")}
    WHERE thread_id = $1::text AND checkpoint_ns = $2::text AND checkpoint_id = chain.parent
    OFFSET 0
  ) AS c
  WHERE chain.waiting <> '{}'
),
numbered AS MATERIALIZED (SELECT (row_number() OVER ())::text AS n, chain.* FROM chain)
SELECT 'ancestor', n, id, NULL::text, NULL::text, NULL::text, NULL::text, NULL::text
FROM numbered WHERE id IS NOT NULL
UNION ALL
SELECT 'inline', a.n, c.checkpoint, NULL, NULL, NULL, NULL, NULL
FROM numbered AS a
CROSS JOIN LATERAL (
  SELECT checkpoint::text FROM ${table("checkpoints")}
  WHERE thread_id = $1::text AND checkpoint_ns = $2::text AND checkpoint_id = a.id
    AND (checkpoint -> 'channel_values' ?| a.came OR checkpoint ? '${Jsonb.exactKey}')
  OFFSET 0
) AS c
UNION ALL
SELECT 'blob', a.n, b.channel, b.version, b.type, encode(b.blob, 'base64'), NULL, NULL
FROM numbered AS a
CROSS JOIN LATERAL unnest(a.came) AS w (channel)
CROSS JOIN LATERAL (
  SELECT checkpoint -> 'channel_versions' ->> w.channel AS version FROM ${table("checkpoints")}
  WHERE thread_id = $1::text AND checkpoint_ns = $2::text AND checkpoint_id = a.id
  OFFSET 0
) AS c
CROSS JOIN LATERAL (
  SELECT * FROM ${table("checkpoint_blobs")}
  WHERE thread_id = $1::text AND checkpoint_ns = $2::text AND channel = w.channel AND version = c.version
  LIMIT 1
) AS b
WHERE w.channel <> ALL (a.waiting)
UNION ALL
SELECT 'write', a.n, w.task_id, w.channel, w.type, encode(w.blob, 'base64'), w.task_path, w.idx::text
FROM numbered AS a
CROSS JOIN LATERAL (
  SELECT * FROM ${table("checkpoint_writes")}
  WHERE thread_id = $1::text AND checkpoint_ns = $2::text AND checkpoint_id = a.id AND channel = ANY (a.came)
  OFFSET 0
) AS w`

  const ancestorsById = ancestors("AND checkpoint_id = $4::text")
  const ancestorsOfLatest = ancestors(`ORDER BY checkpoint_id${c} DESC LIMIT 1`)

  return {
    get: (place, checkpointId) => {
      const parameters = [place.threadId, place.namespace]
      const read = ({ byId, latest, toBlob }: typeof getBytes) => {
        const statement =
          checkpointId === undefined ? sql.unsafe(latest, parameters) : sql.unsafe(byId, [...parameters, checkpointId])
        return Effect.map(statement.values, (rows) => readOne(place, rows as ReadonlyArray<Row>, toBlob))
      }
      return Effect.withFiberRuntime((fiber) =>
        // A statement that fails would take the caller's transaction along.
        !areTexts || inTransaction(fiber)
          ? read(getBytes)
          : Effect.catchIf(read(getTexts), isNoText, () => {
              areTexts = false
              return read(getBytes)
            })
      )
    },
    page: (query) => Effect.map(sql.unsafe(...page(query)).values, (rows) => readPage(rows as ReadonlyArray<Row>)),
    writesTo: (keys, channel) =>
      Effect.map(
        sql.unsafe(writesTo, [
          PgArray.text(keys, ({ threadId }) => threadId),
          PgArray.text(keys, ({ namespace }) => namespace),
          PgArray.text(keys, ({ checkpointId }) => checkpointId),
          channel
        ]).values,
        (rows) => {
          const writes = keys.map(() => [] as WriteRow[])
          for (const row of rows as ReadonlyArray<Row>) writes[Number(row[0]) - 1]?.push(toWrite(row, 1))
          return writes
        }
      ),
    ancestors: (place, checkpointId, channels) => {
      const parameters = [place.threadId, place.namespace, PgArray.texts(channels)]
      const statement =
        checkpointId === undefined
          ? sql.unsafe(ancestorsOfLatest, parameters)
          : sql.unsafe(ancestorsById, [...parameters, checkpointId])
      return Effect.map(statement.values, (rows) => readAncestors(rows as ReadonlyArray<Row>))
    }
  }
}

const fewNamespaces = 32

/** It is no UTF-8 (22021), or the database has another encoding without these characters (22P05). */
const isNoText = (error: SqlError): boolean => someWithCode(error, (code) => code === "22021" || code === "22P05")

type Row = ReadonlyArray<string | null>

// What is left of the row from `at` on.
const toBlob = (row: Row, at: number): BlobRow => ({
  channel: text(row[at]),
  version: text(row[at + 1]),
  type: text(row[at + 2]),
  // NULL: the channel has a version but no value.
  blob: row[at + 3] == null ? null : bytes(row[at + 3])
})

const toText = (row: Row, at: number): FoundBlob => ({
  channel: text(row[at]),
  version: text(row[at + 1]),
  type: text(row[at + 2]),
  blob: row[at + 3] ?? null
})

const toWrite = (row: Row, at: number): WriteRow => ({
  taskId: text(row[at]),
  channel: text(row[at + 1]),
  type: text(row[at + 2]),
  blob: bytes(row[at + 3]),
  taskPath: text(row[at + 4]),
  idx: Number(row[at + 5])
})

const text = (cell: string | null | undefined): string => cell ?? ""

const bytes = (base64: string | null | undefined): Buffer => Buffer.from(text(base64), "base64")

const readOne = (place: Place, rows: ReadonlyArray<Row>, toBlob: (row: Row) => FoundBlob): Found | undefined => {
  let checkpoint: CheckpointRow | undefined
  const blobs: Array<FoundBlob> = []
  const writes: Array<WriteRow> = []
  for (const row of rows) {
    if (row[0] === "blob") blobs.push(toBlob(row))
    else if (row[0] === "write") writes.push(toWrite(row, 1))
    else {
      checkpoint = {
        threadId: place.threadId,
        namespace: place.namespace,
        checkpointId: text(row[1]),
        parentId: row[2] ?? null,
        checkpoint: text(row[3]),
        metadata: text(row[4])
      }
    }
  }
  return checkpoint && { checkpoint, blobs, writes }
}

// Rows come part by part, the checkpoints first.
const readPage = (rows: ReadonlyArray<Row>): ReadonlyArray<Found> => {
  const found: Array<{ checkpoint: CheckpointRow; blobs: Array<BlobRow>; writes: Array<WriteRow> }> = []
  for (const row of rows) {
    if (row[0] === "blob") {
      const blob = toBlob(row, 2)
      for (const n of text(row[1]).split(",")) found[Number(n) - 1]?.blobs.push(blob)
    } else if (row[0] === "write") found[Number(row[1]) - 1]?.writes.push(toWrite(row, 2))
    else {
      const checkpoint = {
        threadId: text(row[2]),
        namespace: text(row[3]),
        checkpointId: text(row[4]),
        parentId: row[5] ?? null,
        checkpoint: text(row[6]),
        metadata: text(row[7])
      }
      found.push({ checkpoint, blobs: [], writes: [] })
    }
  }
  return found
}

const readAncestors = (rows: ReadonlyArray<Row>): ReadonlyArray<Ancestor> => {
  const ancestors = new Map<
    string,
    { checkpoint: string | undefined; blobs: Array<BlobRow>; writes: Array<WriteRow> }
  >()
  const ids = new Set<string>()
  for (const row of rows) {
    const ancestor = ancestors.get(text(row[1]))
    if (row[0] === "ancestor") {
      // In a circle the first round counts.
      if (!ids.has(text(row[2]))) ancestors.set(text(row[1]), { checkpoint: undefined, blobs: [], writes: [] })
      ids.add(text(row[2]))
    } else if (ancestor !== undefined) {
      if (row[0] === "inline") ancestor.checkpoint = text(row[2])
      else if (row[0] === "blob") ancestor.blobs.push(toBlob(row, 2))
      else ancestor.writes.push(toWrite(row, 2))
    }
  }
  return [...ancestors.values()]
}
