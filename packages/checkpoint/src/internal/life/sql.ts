/**
 * The SQL of what is done to whole threads. See `transaction.ts` for what makes it safe.
 *
 * @internal
 */
import type { SqlClient } from "@effect/sql/SqlClient"
import * as Effect from "effect/Effect"
import { type CheckpointerError, StaleHead, ThreadExists } from "../../CheckpointError.ts"
import { type Exclusively, failingAs } from "../groupCommit.ts"
import * as Batch from "../lanes/batch.ts"
import type { SqlLeases } from "../lease/sql.ts"
import * as PgArray from "../pgArray.ts"
import { quote, type Statements } from "../statements.ts"
import type { Store, WriteError } from "../store.ts"
import * as Prune from "./prune.ts"
import * as Retention from "./retentionSql.ts"
import type { LifeStore, ThreadsQuery } from "./store.ts"
import * as Transaction from "./transaction.ts"

/** @internal */
export const make = (
  sql: SqlClient,
  schema: string,
  statements: Statements,
  exclusively: Exclusively,
  leases: SqlLeases,
  byCodePoint: boolean
): LifeStore<CheckpointerError, WriteError> & Pick<Store<CheckpointerError, WriteError>, "deleteThread"> => {
  const table = (name: string) => `${quote(schema)}.${name}`
  const locked = Transaction.make(sql, schema)
  const alone = Transaction.alone(locked, exclusively, leases)
  const c = byCodePoint ? "" : ' COLLATE "C"'

  // As text, because an application may parse the server's types in its own way.
  const exists = (threadId: string) =>
    Effect.map(
      sql.unsafe(
        `SELECT (${["checkpoints", "checkpoint_blobs", "checkpoint_writes"]
          .map((name) => `EXISTS (SELECT FROM ${table(name)} WHERE thread_id = $1::text)`)
          .join(" OR ")})::text`,
        [threadId]
      ).values,
      ([row]) => row?.[0] === "true"
    )

  const copyOf = (name: string, columns: string) =>
    `INSERT INTO ${table(name)} (thread_id, ${columns}) SELECT $2::text, ${columns} FROM ${table(name)} WHERE thread_id = $1::text`
  // In one statement, so that all of it is of one moment.
  const copy = `WITH blobs AS (
  ${copyOf("checkpoint_blobs", "checkpoint_ns, channel, version, type, blob")}
), writes AS (
  ${copyOf("checkpoint_writes", "checkpoint_ns, checkpoint_id, task_id, idx, channel, type, blob, task_path")}
)
${copyOf("checkpoints", "checkpoint_ns, checkpoint_id, parent_checkpoint_id, type, checkpoint, metadata")}`

  const source = `SELECT parent_checkpoint_id, checkpoint::text, metadata::text, (
  SELECT checkpoint_id FROM ${table("checkpoints")}
  WHERE thread_id = $1::text AND checkpoint_ns = $2::text ORDER BY checkpoint_id${c} DESC LIMIT 1
)
FROM ${table("checkpoints")} WHERE thread_id = $1::text AND checkpoint_ns = $2::text AND checkpoint_id = $3::text`

  const head = `SELECT checkpoint_id, EXISTS (
  SELECT FROM ${table("checkpoints")} WHERE thread_id = $1::text AND checkpoint_ns = $2::text AND checkpoint_id = $3::text
)::text
FROM ${table("checkpoints")}
WHERE thread_id = $1::text AND checkpoint_ns = $2::text ORDER BY checkpoint_id${c} DESC LIMIT 1`

  const threadsOfRuns = `SELECT DISTINCT c.thread_id
FROM ${table("checkpoints")} AS c JOIN unnest($1::jsonb[]) AS run (metadata) ON c.metadata @> run.metadata`

  const pruning = Prune.make(table)

  // From one thread to the next by the index, however many checkpoints each one has. A page looks at so many threads and
  // no more, whatever the filter lets through.
  const threads = ({ after, before, filter, size }: ThreadsQuery) => {
    const parameters: Array<unknown> = []
    const parameter = (value: unknown, type: string) => `$${parameters.push(value)}::${type}`
    const upTo = before === undefined ? "" : ` AND thread_id < ${parameter(before, "text")}`
    const next = (condition: string) =>
      `SELECT thread_id FROM ${table("checkpoints")} WHERE ${condition}${upTo} ORDER BY thread_id LIMIT 1`
    const matches =
      filter === undefined
        ? ""
        : ` WHERE EXISTS (
    SELECT FROM ${table("checkpoints")} AS c
    WHERE c.thread_id = page.thread_id AND c.metadata @> ${parameter(filter, "jsonb")}
  )`
    const sizeOf = (name: string) =>
      `(SELECT coalesce(sum(octet_length(blob)), 0) FROM ${table(name)} WHERE thread_id = found.thread_id)`
    const statement = `WITH RECURSIVE ids AS (
  (${next(after === undefined ? "true" : `thread_id > ${parameter(after, "text")}`)})
  UNION ALL
  SELECT (${next("thread_id > ids.thread_id")}) FROM ids WHERE ids.thread_id IS NOT NULL
),
page AS MATERIALIZED (SELECT thread_id FROM ids WHERE thread_id IS NOT NULL LIMIT ${parameter(size, "int")}),
found AS MATERIALIZED (SELECT thread_id FROM page${matches})
SELECT page.thread_id, c.number::text, (${sizeOf("checkpoint_blobs")} + ${sizeOf("checkpoint_writes")})::text, c.ts
FROM page
LEFT JOIN found USING (thread_id)
LEFT JOIN LATERAL (
  SELECT count(*) AS number, coalesce(max((checkpoint ->> 'ts') COLLATE "C"), '') AS ts
  FROM ${table("checkpoints")} WHERE thread_id = found.thread_id
) AS c ON found.thread_id IS NOT NULL
ORDER BY page.thread_id`
    return [statement, parameters] as const
  }

  return {
    ...Retention.make(sql, schema, alone, locked),
    commitAt: (name, rows, expected) =>
      Effect.suspend(() => {
        const { checkpointId, namespace, threadId } = rows.put.checkpoint
        let again = false
        return alone(
          name,
          [threadId],
          true,
          Effect.gen(function* () {
            const [row] = yield* sql.unsafe(head, [threadId, namespace, checkpointId]).values
            const [actual = null, isThere = "false"] = (row ?? []) as ReadonlyArray<string>
            // What an earlier attempt has done counts, whatever others have gone on to do.
            if (again && isThere === "true") return
            again = true
            if (actual !== expected && actual !== checkpointId) {
              return yield* new StaleHead({ threadId, namespace, expected, actual })
            }
            yield* statements.batch(Batch.merge([Batch.commit(rows)]))
          })
        )
      }),
    // Not repeatable: a thread that is deleted twice may have been begun anew in between, by somebody else.
    deleteThread: (threadId) => alone("deleteThread", [threadId], false, statements.deleteThread(threadId)),
    copyThread: (sourceId, targetId) =>
      alone(
        "copyThread",
        [sourceId, targetId],
        false,
        Effect.gen(function* () {
          if (!(yield* exists(sourceId))) return
          if (yield* exists(targetId)) return yield* new ThreadExists({ threadId: targetId })
          yield* sql.unsafe(copy, [sourceId, targetId])
        })
      ),
    fork: (place, checkpointId, fork) =>
      alone(
        "forkAt",
        [place.threadId],
        false,
        Effect.gen(function* () {
          const { namespace, threadId } = place
          const [found] = yield* sql.unsafe(source, [threadId, namespace, checkpointId]).values
          if (found === undefined) return undefined
          const [parentId, text, metadata, latestId] = found as [string | null, string, string, string]
          const checkpoint = fork({ threadId, namespace, checkpointId, parentId, checkpoint: text, metadata }, latestId)
          yield* statements.put({ checkpoint, blobs: [] })
          return checkpoint.checkpointId
        })
      ),
    deleteForRuns: (runIds) =>
      Effect.flatMap(
        failingAs(
          "deleteForRuns",
          sql.unsafe(threadsOfRuns, [runIds.map((run_id) => JSON.stringify({ run_id }))]).values
        ),
        (threads) =>
          Effect.forEach(
            threads as ReadonlyArray<ReadonlyArray<string>>,
            ([threadId = ""]) =>
              alone(
                "deleteForRuns",
                [threadId],
                true,
                sql.unsafe(pruning.deleteRuns, [threadId, runIds.map((runId) => JSON.stringify(runId))])
              ),
            { discard: true }
          )
      ),
    prune: ({ before, deltaChannels, keepLast, size, threadId }) =>
      alone(
        "prune",
        [threadId],
        true,
        Effect.map(
          sql.unsafe(pruning.prune, [threadId, keepLast, before ?? null, PgArray.texts(deltaChannels), size]).values,
          ([row]) => ({ checkpoints: Number(row?.[0]), pendingWrites: Number(row?.[1]), bytes: Number(row?.[2]) })
        )
      ),
    collect: ({ grace, size, threadId }) =>
      alone(
        "prune",
        [threadId],
        true,
        Effect.map(sql.unsafe(pruning.collect, [threadId, grace, size]).values, ([row]) => ({
          values: Number(row?.[0]),
          bytes: Number(row?.[1]),
          waiting: Number(row?.[2])
        }))
      ),
    prunePlan: ({ before, deltaChannels, keepLast, threadId }) =>
      Effect.map(
        failingAs(
          "prunePlan",
          sql.unsafe(pruning.plan, [threadId, keepLast, before ?? null, PgArray.texts(deltaChannels)]).values
        ),
        ([row]) => ({
          checkpoints: Number(row?.[0]),
          pendingWrites: Number(row?.[1]),
          values: Number(row?.[2]),
          bytes: Number(row?.[3])
        })
      ),
    threads: (query) =>
      Effect.map(failingAs("threads", sql.unsafe(...threads(query)).values), (rows) =>
        (rows as ReadonlyArray<ReadonlyArray<string | null>>).map(([id, checkpoints, bytes, lastActivity]) => {
          const threadId = id ?? ""
          return checkpoints == null
            ? { threadId }
            : { threadId, checkpoints: Number(checkpoints), bytes: Number(bytes), lastActivity: lastActivity ?? "" }
        })
      )
  }
}
