/**
 * The SQL of retention: a row for each thread that it has come across, which tells when it was last looked at.
 *
 * @internal
 */
import type { SqlClient } from "@effect/sql/SqlClient"
import * as Effect from "effect/Effect"
import type { CheckpointerError } from "../../CheckpointError.ts"
import { failingAs } from "../groupCommit.ts"
import * as PgArray from "../pgArray.ts"
import { quote } from "../statements.ts"
import type { WriteError } from "../store.ts"
import type { Candidate, Range, RetentionStore } from "./retentionStore.ts"
import type * as Transaction from "./transaction.ts"

/** @internal */
export const make = (
  sql: SqlClient,
  schema: string,
  alone: ReturnType<typeof Transaction.alone>,
  locked: Transaction.Transaction
): RetentionStore<CheckpointerError, WriteError> => {
  const table = (name: string) => `${quote(schema)}.${name}`
  const retention = table("checkpool_retention")

  const lastActivity = (threadId: string) =>
    `coalesce((SELECT max((checkpoint ->> 'ts') COLLATE "C") FROM ${table("checkpoints")} WHERE thread_id = ${threadId}), '')`

  // From one thread to the next by the keys, however many rows each one has. Values alone make a thread, too: their
  // checkpoints may have been deleted.
  const next = (after: string) =>
    `least(${["checkpoints", "checkpoint_blobs"]
      .map((name) => `(SELECT thread_id FROM ${table(name)} WHERE ${after} ORDER BY thread_id LIMIT 1)`)
      .join(", ")})`
  // $1 after, $2 before, $3 size.
  const page = (condition: string) => `ids AS (
  SELECT ${next("thread_id > $1::text")} AS thread_id${condition}
  UNION ALL
  SELECT ${next("thread_id > ids.thread_id")} FROM ids WHERE ids.thread_id < $2::text OR $2::text IS NULL AND ids.thread_id IS NOT NULL
), page AS MATERIALIZED (
  SELECT thread_id FROM ids WHERE thread_id < $2::text OR $2::text IS NULL AND thread_id IS NOT NULL LIMIT $3::int
)`

  // Two that enrol the same thread would wait for each other, and one of them is enough.
  const enrol = `WITH RECURSIVE turn AS MATERIALIZED (
  SELECT pg_try_advisory_xact_lock($4::int, hashtext($5::text)) AS mine
), ${page(" FROM turn WHERE mine")}, enrolled AS (
  INSERT INTO ${retention} (thread_id) SELECT thread_id FROM page ON CONFLICT DO NOTHING
)
SELECT max(thread_id), count(*)::text, (SELECT mine::text FROM turn) FROM page`

  const peek = `WITH RECURSIVE ${page("")}
SELECT page.thread_id, r.ttl::text, ${lastActivity("page.thread_id")}
FROM page LEFT JOIN ${retention} AS r USING (thread_id) ORDER BY page.thread_id`

  // As text with all of its digits, whatever style of dates the session has.
  const exactly = "YYYY-MM-DD HH24:MI:SS.US"
  // $1 after, $2 before, $3 size, $4 every, $5 since, $6 lease.
  const claim = `WITH mine AS MATERIALIZED (
  SELECT thread_id FROM ${retention}
  WHERE looked_at <= now() - $4::float8 * interval '1 millisecond' AND leased_until <= now()
    AND ($5::text IS NULL OR looked_at < $5::text::timestamp AT TIME ZONE 'UTC')
    AND thread_id > $1::text AND ($2::text IS NULL OR thread_id < $2::text)
  ORDER BY looked_at LIMIT $3::int FOR UPDATE SKIP LOCKED
), claimed AS (
  UPDATE ${retention} AS r SET looked_at = now(), leased_until = now() + $6::float8 * interval '1 millisecond'
  FROM mine WHERE r.thread_id = mine.thread_id RETURNING r.thread_id, r.ttl
)
SELECT thread_id, ttl::text, ${lastActivity("claimed.thread_id")}, to_char(now() AT TIME ZONE 'UTC', '${exactly}')
FROM claimed`

  // Of a thread that has yet to begin the time to live is kept for that long.
  const release = `WITH mine AS MATERIALIZED (
  SELECT thread_id, thread_id = ANY ($1::text[]) AS done,
    (ttl IS NULL OR extract(epoch FROM now() - ttl_set_at) * 1000 > ttl)
    AND NOT EXISTS (SELECT FROM ${table("checkpoints")} AS c WHERE c.thread_id = r.thread_id)
    AND NOT EXISTS (SELECT FROM ${table("checkpoint_blobs")} AS b WHERE b.thread_id = r.thread_id) AS is_over
  FROM ${retention} AS r WHERE thread_id = ANY ($1::text[] || $2::text[]) FOR UPDATE SKIP LOCKED
), forgotten AS (
  DELETE FROM ${retention} AS r USING mine WHERE r.thread_id = mine.thread_id AND done AND is_over
)
UPDATE ${retention} AS r
SET leased_until = '-infinity', looked_at = CASE WHEN done THEN looked_at ELSE '-infinity' END
FROM mine WHERE r.thread_id = mine.thread_id AND NOT (done AND is_over)`

  const setTtl = `INSERT INTO ${retention} (thread_id, ttl, ttl_set_at) VALUES ($1::text, $2::float8, now())
ON CONFLICT (thread_id) DO UPDATE SET ttl = EXCLUDED.ttl, ttl_set_at = EXCLUDED.ttl_set_at`

  // One statement, so all of it or nothing; under the thread's lock. The grace of all values begins now. Who sets a time to
  // live at this moment is not waited for, because it may wait for the lock.
  const isDue = "EXISTS (SELECT FROM due)"
  const expire = `WITH due AS MATERIALIZED (
  SELECT FROM (SELECT ${lastActivity("$1::text")} AS last) AS activity WHERE last <> '' AND last COLLATE "C" < $2::text
), gone_writes AS (
  DELETE FROM ${table("checkpoint_writes")} WHERE thread_id = $1::text AND ${isDue} RETURNING checkpoint_id, octet_length(blob) AS bytes
), gone AS (
  DELETE FROM ${table("checkpoints")} WHERE thread_id = $1::text AND ${isDue} RETURNING checkpoint_id
), retired AS (
  DELETE FROM ${table("checkpool_retired_values")} WHERE thread_id = $1::text AND ${isDue}
), settled AS (
  UPDATE ${retention} SET ttl = NULL WHERE thread_id IN (
    SELECT thread_id FROM ${retention} WHERE thread_id = $1::text AND ${isDue} FOR UPDATE SKIP LOCKED
  )
), remembered AS (
  INSERT INTO ${table("checkpool_deleted_threads")} AS old (thread_id, last_checkpoint_id)
  SELECT $1::text, max(checkpoint_id COLLATE "C")
  FROM (SELECT checkpoint_id FROM gone UNION ALL SELECT checkpoint_id FROM gone_writes) AS ids HAVING count(*) > 0
  ON CONFLICT (thread_id) DO UPDATE
  SET last_checkpoint_id = greatest(old.last_checkpoint_id, EXCLUDED.last_checkpoint_id), deleted_at = now()
)
SELECT (SELECT count(*) FROM gone)::text, count(*)::text, coalesce(sum(bytes), 0)::text FROM gone_writes HAVING ${isDue}`

  const rowsOf = (name: string) => `SELECT count(*) AS number, coalesce(sum(octet_length(blob)), 0) AS bytes
  FROM ${table(name)} WHERE thread_id = $1::text`
  const expirePlan = `SELECT (SELECT count(*) FROM ${table("checkpoints")} WHERE thread_id = $1::text)::text,
  w.number::text, b.number::text, (w.bytes + b.bytes)::text
FROM (${rowsOf("checkpoint_writes")}) AS w, (${rowsOf("checkpoint_blobs")}) AS b`

  const values = (statement: string, parameters: ReadonlyArray<unknown>) =>
    sql.unsafe(statement, parameters).values as Effect.Effect<
      ReadonlyArray<ReadonlyArray<string | null>>,
      Effect.Effect.Error<ReturnType<typeof sql.unsafe>>
    >
  const rangeOf = ({ after, before, size }: Range & { readonly size: number }) => [after ?? "", before ?? null, size]

  return {
    setTtl: (threadId, ttl) =>
      failingAs(
        "setTtl",
        Effect.asVoid(
          ttl === undefined
            ? values(`UPDATE ${retention} SET ttl = NULL WHERE thread_id = $1::text`, [threadId])
            : values(setTtl, [threadId, ttl])
        )
      ),
    ttl: (threadId) =>
      failingAs(
        "ttl",
        Effect.map(values(`SELECT ttl::text FROM ${retention} WHERE thread_id = $1::text`, [threadId]), ([row]) =>
          row?.[0] == null ? undefined : Number(row[0])
        )
      ),
    enrol: (query) =>
      failingAs(
        "retain",
        Effect.map(values(enrol, [...rangeOf(query), enrolling, schema]), ([row]) => ({
          last: Number(row?.[1]) < query.size ? undefined : (row?.[0] ?? undefined),
          busy: row?.[2] !== "true"
        }))
      ),
    claim: (query) =>
      failingAs(
        "retain",
        // In a transaction for its level of isolation: under a stricter one others' claims would be conflicts.
        locked(
          [],
          Effect.map(values(claim, [...rangeOf(query), query.every, query.since ?? null, query.lease]), (rows) => ({
            at: rows[0]?.[3] ?? undefined,
            threads: rows.map(toCandidate)
          }))
        )
      ),
    release: (done, undone) =>
      failingAs("retain", Effect.asVoid(locked([], values(release, [PgArray.texts(done), PgArray.texts(undone)])))),
    peek: (query) =>
      failingAs(
        "retain",
        Effect.map(values(peek, rangeOf(query)), (rows) => rows.map(toCandidate))
      ),
    expire: (threadId, before) =>
      alone(
        "retain",
        [threadId],
        true,
        Effect.map(values(expire, [threadId, before]), ([row]) =>
          row === undefined
            ? undefined
            : { checkpoints: Number(row[0]), pendingWrites: Number(row[1]), bytes: Number(row[2]) }
        )
      ),
    expirePlan: (threadId) =>
      failingAs(
        "retain",
        Effect.map(values(expirePlan, [threadId]), ([row]) => ({
          checkpoints: Number(row?.[0]),
          pendingWrites: Number(row?.[1]),
          values: Number(row?.[2]),
          bytes: Number(row?.[3])
        }))
      )
  }
}

const toCandidate = ([threadId, ttl, lastActivity]: ReadonlyArray<string | null>): Candidate => ({
  threadId: threadId ?? "",
  ttl: ttl == null ? undefined : Number(ttl),
  lastActivity: lastActivity ?? ""
})

// "chkr", beside the classes of the set-up and of threads.
const enrolling = 0x63_68_6b_72
