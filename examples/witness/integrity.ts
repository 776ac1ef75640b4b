/**
 * What is in the database, beside what we know to have written: every acknowledged write is there, and no write is there
 * by half.
 */
import { isDeepStrictEqual } from "node:util"
import { Checkpointer } from "@checkpool/checkpoint"
import type { SqlClient } from "@effect/sql"
import { Effect, Option } from "effect"
import { stateAt } from "./conversation.ts"
import * as Lab from "./lab.ts"
import type { Entry } from "./ledger.ts"
import type { IntegrityResult } from "./result.ts"
import { mission } from "./settings.ts"
import { reason, WitnessError } from "./trouble.ts"

export const run = (lab: Lab.Lab): Effect.Effect<IntegrityResult, WitnessError> =>
  lab.progress.during(
    "reading everything back",
    {
      done: ({ acked, readBack }) => `${acked} acknowledged puts in SQL, ${readBack} of them value by value`
    },
    Effect.gen(function* () {
      const { entries } = lab.workload.ledger
      const { observer, schema } = lab.target
      const inSql = yield* compare(observer.sql, schema).pipe(
        Effect.mapError((cause) => new WitnessError({ message: `Reading back failed: ${reason(cause)}.`, cause }))
      )
      const known = new Set(entries.map(({ checkpointId }) => checkpointId))
      const isThere = ({ checkpointId }: Entry) => inSql.ids.has(checkpointId)
      const doubtful = entries.filter(({ acked }) => !acked)
      const landed = doubtful.filter(isThere)
      const acked = entries.filter(({ acked }) => acked)
      const chosen = [...landed, ...evenly(acked.filter(isThere), lab.settings.readBack)]
      const config = { ...mission, minConnections: 1, maxConnections: 10 }
      const { value: different } = yield* Lab.observe(lab, { name: "reading back", place: "direct", config }, () =>
        Effect.map(
          Effect.forEach(chosen, isWhole, { concurrency: 10 }),
          (whole) => whole.filter((isWhole) => !isWhole).length
        )
      )
      return {
        acked: acked.length,
        doubtful: doubtful.length,
        missing: acked.filter((entry) => !isThere(entry)).length,
        landed: landed.length,
        unknown: [...inSql.ids].filter((id) => !known.has(id)).length,
        withoutBlob: inSql.withoutBlob,
        withoutCheckpoint: inSql.withoutCheckpoint,
        readBack: chosen.length,
        different
      }
    })
  )

/** Through the checkpointer: state, versions, parent and metadata are what was put. */
const isWhole = ({ checkpointId, conversation, parentId, turn }: Entry) =>
  Effect.gen(function* () {
    const checkpointer = yield* Checkpointer.Checkpointer
    const { threadId } = conversation
    const found = yield* Effect.option(checkpointer.get({ threadId, checkpointId }))
    const tuple = Option.flatten(found)
    if (Option.isNone(tuple)) return false
    const { metadata, values, versions } = stateAt(conversation, turn)
    const { checkpoint } = tuple.value
    return isDeepStrictEqual(
      [checkpoint.channel_values, checkpoint.channel_versions, tuple.value.metadata, tuple.value.parentId],
      [values, versions, metadata, Option.fromNullable(parentId)]
    )
  })

/** Both ways: a value for each channel that a checkpoint names, and a checkpoint for each value. */
const compare = Effect.fnUntraced(function* (sql: SqlClient.SqlClient, schema: string) {
  const table = (name: string) => sql(`${schema}.${name}`)
  const ids = yield* sql<{ id: string }>`SELECT checkpoint_id AS id FROM ${table("checkpoints")}`
  const [counts] = yield* sql<{ withoutBlob: number; withoutCheckpoint: number }>`
    WITH named AS (
      SELECT DISTINCT c.thread_id, v.key AS channel, v.value AS version
      FROM ${table("checkpoints")} AS c CROSS JOIN LATERAL jsonb_each_text(c.checkpoint -> 'channel_versions') AS v
    )
    SELECT
      count(*) FILTER (WHERE b.blob IS NULL)::int AS "withoutBlob",
      count(*) FILTER (WHERE n.channel IS NULL)::int AS "withoutCheckpoint"
    FROM named AS n FULL JOIN ${table("checkpoint_blobs")} AS b USING (thread_id, channel, version)`
  return {
    ids: new Set(ids.map(({ id }) => id)),
    withoutBlob: counts?.withoutBlob ?? 0,
    withoutCheckpoint: counts?.withoutCheckpoint ?? 0
  }
})

/** At most `count` of the items, spread over all of them. */
const evenly = <A>(items: ReadonlyArray<A>, count: number): ReadonlyArray<A> =>
  items.length <= count
    ? items
    : Array.from({ length: count }, (_, i) => items[Math.floor((i * items.length) / count)]!)
