/**
 * What is put and read: checkpoints of five channels with texts, of which each step changes two.
 */
import { SqlClient } from "@effect/sql"
import { Effect } from "effect"

const channels = ["messages", "plan", "context", "result", "notes"]

const isChanged = (step: number, channel: number): boolean => step === 1 || (step + channel) % 5 < 2

/** Compressible as text is, and another one each time. */
const makeText = (bytes: number): (() => string) => {
  const words = Array.from({ length: 64 }, () => Math.random().toString(36).slice(2))
  return () => {
    let text = ""
    while (text.length < bytes) text += `${words[Math.floor(Math.random() * words.length)]} `
    return text.slice(0, bytes)
  }
}

/** The size of the values of a put, as pgbench needs to know it: two texts. */
export const makeTexts = (count: number, bytes: number): ReadonlyArray<string> =>
  Array.from({ length: count }, makeText(bytes))

export const checkpointId = (step: number): string => `1f0a0000-0000-6000-8000-${step.toString(16).padStart(12, "0")}`

/** The steps of one writer, one after the other. */
export const makeSteps = (threadId: string, bytes: number) => {
  const texts = makeTexts(16, bytes)
  let step = 0
  let versions: Record<string, number> = {}
  let values: Record<string, string> = {}
  let parentId: string | undefined
  return () => {
    step++
    const changed = channels.filter((_, channel) => isChanged(step, channel))
    const newVersions = Object.fromEntries(changed.map((channel) => [channel, step]))
    versions = { ...versions, ...newVersions }
    values = { ...values, ...Object.fromEntries(changed.map((channel, k) => [channel, texts[(step + k) % 16]!])) }
    const checkpoint = {
      v: 4,
      id: checkpointId(step),
      ts: "2026-01-02T03:04:05.678Z",
      channel_values: values,
      channel_versions: versions,
      versions_seen: {}
    }
    const put = { threadId, parentId, checkpoint, metadata: metadataOf(step), newVersions }
    parentId = checkpoint.id
    return put
  }
}

const metadataOf = (step: number) => ({ source: "loop" as const, step, parents: {} })

/** A whole thread in LangGraph's format, written past all that is measured. */
export const fillThread = (threadId: string, length: number, bytes: number) =>
  Effect.gen(function* () {
    const sql = yield* SqlClient.SqlClient
    const names = sql.literal(`unnest('{${channels}}'::text[]) WITH ORDINALITY AS c (channel, k)`)
    const isChanged = sql.literal("(i = 1 OR (i + k - 1) % 5 < 2)")
    // Random, so that compression is no part of it.
    yield* sql`
      INSERT INTO checkpoint_blobs (thread_id, channel, version, type, blob)
      SELECT ${threadId}, channel, i::text, 'json', convert_to(to_json((
        SELECT string_agg(md5(random()::text || i || n), '') FROM generate_series(1, ${bytes / 32}::int) n
      ))::text, 'UTF8')
      FROM generate_series(1, ${length}::int) i, ${names}
      WHERE ${isChanged}`
    const ids = Array.from({ length }, (_, i) => checkpointId(i + 1))
    yield* sql`
      INSERT INTO checkpoints (thread_id, checkpoint_id, parent_checkpoint_id, checkpoint, metadata)
      SELECT ${threadId}, id.id, lag(id.id) OVER (ORDER BY step),
        jsonb_build_object('v', 4, 'id', id.id, 'ts', '2026-01-02T03:04:05.678Z', 'versions_seen', '{}'::jsonb,
          'channel_versions', (
            SELECT jsonb_object_agg(channel, (
              SELECT max(i) FROM generate_series(greatest(1, step - 4), step) i WHERE ${isChanged}
            )) FROM ${names})),
        jsonb_build_object('source', 'loop', 'step', step, 'parents', '{}'::jsonb)
      FROM unnest(${ids}::text[]) WITH ORDINALITY id (id, step)`
  })
