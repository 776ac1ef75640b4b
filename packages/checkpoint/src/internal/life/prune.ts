/**
 * The SQL that thins out histories.
 *
 * @internal
 */
import * as Jsonb from "../jsonb.ts"
import * as PendingSends from "../pendingSends.ts"

/** The key under which LangGraph's metadata count the steps since a channel was stored. @internal */
export const deltaCounters = "counters_since_delta_snapshot"

/** @internal */
export const make = (table: (name: string) => string) => {
  const row = (place: string) => `CROSS JOIN LATERAL (
    SELECT checkpoint, metadata, parent_checkpoint_id FROM ${table("checkpoints")}
    WHERE thread_id = $1::text AND checkpoint_ns = ${place}.checkpoint_ns AND checkpoint_id = ${place}.checkpoint_id
    OFFSET 0
  ) AS k`

  // Those of the channels that have no value at the checkpoint `k`, as `deltaHistory` looks for it (see `reads.ts`).
  const waiting = (place: string, channels: string) => `ARRAY(
    SELECT DISTINCT w.channel FROM unnest(${channels}) AS w (channel)
    WHERE NOT EXISTS (
      SELECT FROM ${table("checkpoint_blobs")} AS b
      WHERE b.thread_id = $1::text AND b.checkpoint_ns = ${place}.checkpoint_ns AND b.channel = w.channel
        AND b.version = k.checkpoint -> 'channel_versions' ->> w.channel AND b.blob IS NOT NULL
    )
    AND NOT coalesce(k.checkpoint -> 'channel_values' ? w.channel AND NOT k.checkpoint ? '${Jsonb.exactKey}', false)
    ORDER BY w.channel
  )`

  // $1 thread, $2 keepLast, $3 before, $4 deltaChannels. `chosen` stays for its own sake, `chain` for a channel's: it goes
  // from parent to parent with the channels that still wait for a value. UNION, because chains meet, and may be circles.
  const mayGo = `ranked AS MATERIALIZED (
  SELECT checkpoint_ns, checkpoint_id, parent_checkpoint_id,
    row_number() OVER (PARTITION BY checkpoint_ns ORDER BY checkpoint_id COLLATE "C" DESC) AS rank,
    $3::text IS NULL OR coalesce(checkpoint ->> 'ts', '') COLLATE "C" < $3::text AS is_old
  FROM ${table("checkpoints")} WHERE thread_id = $1::text
), chosen AS MATERIALIZED (
  SELECT checkpoint_ns, checkpoint_id, parent_checkpoint_id FROM ranked
  WHERE rank <= $2::int OR NOT is_old OR (
    (checkpoint_ns, checkpoint_id) IN (
      SELECT checkpoint_ns, checkpoint_id FROM ${table("checkpoint_writes")} WHERE thread_id = $1::text
    )
    AND (checkpoint_ns, checkpoint_id) NOT IN (
      SELECT checkpoint_ns, parent_checkpoint_id FROM ranked WHERE parent_checkpoint_id IS NOT NULL
    )
  )
), chain AS (
  SELECT chosen.checkpoint_ns, chosen.parent_checkpoint_id AS checkpoint_id, ${waiting(
    "chosen",
    `$4::text[] || CASE jsonb_typeof(k.metadata -> '${deltaCounters}')
      WHEN 'object' THEN ARRAY(SELECT jsonb_object_keys(k.metadata -> '${deltaCounters}')) ELSE '{}' END`
  )} AS waiting
  FROM chosen ${row("chosen")}
  UNION
  SELECT chain.checkpoint_ns, k.parent_checkpoint_id, ${waiting("chain", "chain.waiting")}
  FROM chain ${row("chain")}
  WHERE chain.waiting <> '{}'
), sent AS (
  SELECT chosen.checkpoint_ns, chosen.parent_checkpoint_id AS checkpoint_id
  FROM chosen ${row("chosen")}
  WHERE CASE jsonb_typeof(k.checkpoint -> 'v') WHEN 'number' THEN k.checkpoint -> 'v' < '4'::jsonb ELSE false END
    AND EXISTS (
      SELECT FROM ${table("checkpoint_writes")} AS w
      WHERE w.thread_id = $1::text AND w.checkpoint_ns = chosen.checkpoint_ns
        AND w.checkpoint_id = chosen.parent_checkpoint_id AND w.channel = '${PendingSends.tasks}'
    )
), kept AS MATERIALIZED (
  SELECT checkpoint_ns, checkpoint_id FROM chosen
  UNION SELECT checkpoint_ns, checkpoint_id FROM sent
  UNION SELECT checkpoint_ns, checkpoint_id FROM chain WHERE waiting <> '{}' AND checkpoint_id IS NOT NULL
), doomed AS MATERIALIZED (
  SELECT checkpoint_ns, checkpoint_id FROM ranked
  WHERE (checkpoint_ns, checkpoint_id) NOT IN (SELECT checkpoint_ns, checkpoint_id FROM kept)`

  // What is doomed goes: its writes, it, its place as a parent; and what would still continue it is late from then on. The
  // grace of the values that it named begins now, whatever was known of them before.
  const removal = `gone_writes AS (
  DELETE FROM ${table("checkpoint_writes")} AS w USING doomed AS d
  WHERE w.thread_id = $1::text AND w.checkpoint_ns = d.checkpoint_ns AND w.checkpoint_id = d.checkpoint_id
  RETURNING octet_length(w.blob) AS bytes
), orphans AS (
  UPDATE ${table("checkpoints")} AS c SET parent_checkpoint_id = NULL FROM doomed AS d
  WHERE c.thread_id = $1::text AND c.checkpoint_ns = d.checkpoint_ns AND c.parent_checkpoint_id = d.checkpoint_id
    AND (c.checkpoint_ns, c.checkpoint_id) NOT IN (SELECT checkpoint_ns, checkpoint_id FROM doomed)
), gone AS (
  DELETE FROM ${table("checkpoints")} AS c USING doomed AS d
  WHERE c.thread_id = $1::text AND c.checkpoint_ns = d.checkpoint_ns AND c.checkpoint_id = d.checkpoint_id
  RETURNING c.checkpoint_id
), named_again AS (
  DELETE FROM ${table("checkpool_retired_values")} AS r USING (
    SELECT c.checkpoint_ns, v.key AS channel, v.value AS version
    FROM doomed AS d JOIN ${table("checkpoints")} AS c USING (checkpoint_ns, checkpoint_id)
    CROSS JOIN LATERAL jsonb_each_text(c.checkpoint -> 'channel_versions') AS v
    WHERE c.thread_id = $1::text
  ) AS n
  WHERE r.thread_id = $1::text AND r.checkpoint_ns = n.checkpoint_ns AND r.channel = n.channel AND r.version = n.version
), remembered AS (
  INSERT INTO ${table("checkpool_deleted_threads")} AS old (thread_id, last_checkpoint_id)
  SELECT $1::text, max(checkpoint_id COLLATE "C") FROM gone HAVING count(*) > 0
  ON CONFLICT (thread_id) DO UPDATE
  SET last_checkpoint_id = greatest(old.last_checkpoint_id, EXCLUDED.last_checkpoint_id), deleted_at = now()
)
SELECT (SELECT count(*) FROM gone)::text, count(*)::text, coalesce(sum(bytes), 0)::text FROM gone_writes`

  const named = (except: string) => `named AS MATERIALIZED (
  SELECT DISTINCT c.checkpoint_ns, v.key AS channel, v.value AS version
  FROM ${table("checkpoints")} AS c CROSS JOIN LATERAL jsonb_each_text(c.checkpoint -> 'channel_versions') AS v
  WHERE c.thread_id = $1::text${except}
), unnamed AS MATERIALIZED (
  SELECT b.checkpoint_ns, b.channel, b.version, octet_length(b.blob) AS bytes
  FROM ${table("checkpoint_blobs")} AS b LEFT JOIN named AS n USING (checkpoint_ns, channel, version)
  WHERE b.thread_id = $1::text AND n.channel IS NULL
)`

  return {
    /** Takes the thread, keepLast, before, deltaChannels and the most that may go. */
    prune: `WITH RECURSIVE ${mayGo} ORDER BY checkpoint_id COLLATE "C", checkpoint_ns LIMIT $5::int
), ${removal}`,

    /** Takes the thread, keepLast, before and deltaChannels. */
    plan: `WITH RECURSIVE ${mayGo}
), ${named(`
    AND (c.checkpoint_ns, c.checkpoint_id) NOT IN (SELECT checkpoint_ns, checkpoint_id FROM doomed)`)}, writes AS (
  SELECT octet_length(w.blob) AS bytes FROM ${table("checkpoint_writes")} AS w
  JOIN doomed AS d USING (checkpoint_ns, checkpoint_id) WHERE w.thread_id = $1::text
)
SELECT (SELECT count(*) FROM doomed)::text, (SELECT count(*) FROM writes)::text, count(*)::text,
  (coalesce(sum(bytes), 0) + (SELECT coalesce(sum(bytes), 0) FROM writes))::text FROM unnamed`,

    /** Takes the thread, the grace in milliseconds and the most that may go. */
    collect: `WITH ${named("")}, since AS MATERIALIZED (
  SELECT checkpoint_ns, channel, version, retired_at FROM ${table("checkpool_retired_values")} WHERE thread_id = $1::text
), due AS MATERIALIZED (
  SELECT u.checkpoint_ns, u.channel, u.version FROM unnamed AS u LEFT JOIN since AS s USING (checkpoint_ns, channel, version)
  WHERE $2::float8 <= 0 OR s.retired_at <= now() - $2::float8 * interval '1 millisecond'
  LIMIT $3::int
), collected AS (
  DELETE FROM ${table("checkpoint_blobs")} AS b USING due AS d
  WHERE b.thread_id = $1::text AND b.checkpoint_ns = d.checkpoint_ns AND b.channel = d.channel AND b.version = d.version
  RETURNING octet_length(b.blob) AS bytes
), retired AS (
  INSERT INTO ${table("checkpool_retired_values")} (thread_id, checkpoint_ns, channel, version, retired_at)
  SELECT $1::text, u.checkpoint_ns, u.channel, u.version, now()
  FROM unnamed AS u LEFT JOIN since AS s USING (checkpoint_ns, channel, version)
  WHERE s.retired_at IS NULL AND $2::float8 > 0
), settled AS (
  DELETE FROM ${table("checkpool_retired_values")} AS r USING since AS s
  WHERE r.thread_id = $1::text AND r.checkpoint_ns = s.checkpoint_ns AND r.channel = s.channel AND r.version = s.version
    AND ((s.checkpoint_ns, s.channel, s.version) NOT IN (SELECT checkpoint_ns, channel, version FROM unnamed)
      OR (s.checkpoint_ns, s.channel, s.version) IN (SELECT checkpoint_ns, channel, version FROM due))
)
SELECT count(*)::text, coalesce(sum(bytes), 0)::text, ((SELECT count(*) FROM unnamed) - count(*))::text FROM collected`,

    /** Takes the thread and texts of JSON strings. */
    deleteRuns: `WITH doomed AS MATERIALIZED (
  SELECT checkpoint_ns, checkpoint_id FROM ${table("checkpoints")}
  WHERE thread_id = $1::text AND metadata -> 'run_id' = ANY ($2::jsonb[])
), ${removal}`
  }
}
