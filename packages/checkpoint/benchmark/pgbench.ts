/**
 * What the server itself can do: the same statement, sent by pgbench, a program in C that comes with Postgres.
 */
import { execFile } from "node:child_process"
import * as NodeFs from "node:fs/promises"
import * as NodeOs from "node:os"
import * as NodePath from "node:path"
import { promisify } from "node:util"
import { Effect, Option, Redacted } from "effect"
import type { Server } from "./server.ts"
import { checkpointId, makeTexts } from "./workload.ts"

const exec = promisify(execFile)

/** Puts per second. */
export type Pgbench = (writers: number, bytes: number, milliseconds: number) => Promise<number>

// One put as the checkpointer sends it; the values come as texts, which `bytea` would not take as they are.
const script = `\\set step :step + 1
WITH blobs AS (
  INSERT INTO checkpoint_blobs (thread_id, checkpoint_ns, channel, version, type, blob)
  VALUES (:thread::text || ' ' || :client_id::text, '', 'messages', :step::int::text, 'json', convert_to(:first::text, 'UTF8')),
    (:thread::text || ' ' || :client_id::text, '', 'result', :step::int::text, 'json', convert_to(:second::text, 'UTF8'))
  ON CONFLICT (thread_id, checkpoint_ns, channel, version) DO NOTHING
)
INSERT INTO checkpoints (thread_id, checkpoint_ns, checkpoint_id, parent_checkpoint_id, checkpoint, metadata)
VALUES (:thread::text || ' ' || :client_id::text, '', :prefix::text || lpad(to_hex(:step::int), 12, '0'), coalesce((
    SELECT ('deleted: ' || d.thread_id)::int::text
    FROM checkpool_deleted_threads AS d
    WHERE d.thread_id = :thread::text || ' ' || :client_id::text
      AND :prefix::text || lpad(to_hex(:step::int - 1), 12, '0') <= d.last_checkpoint_id AND NOT EXISTS (
        SELECT FROM checkpoints AS k
        WHERE k.thread_id = :thread::text || ' ' || :client_id::text AND k.checkpoint_ns = '' AND k.checkpoint_id IN
          (:prefix::text || lpad(to_hex(:step::int - 1), 12, '0'), :prefix::text || lpad(to_hex(:step::int), 12, '0'))
      )
  ), :prefix::text || lpad(to_hex(:step::int - 1), 12, '0')), :checkpoint::jsonb, :metadata::jsonb)
ON CONFLICT (thread_id, checkpoint_ns, checkpoint_id)
DO UPDATE SET checkpoint = EXCLUDED.checkpoint, metadata = EXCLUDED.metadata;
`

/** `none` where it is not installed. */
export const make = (server: Server) =>
  Effect.gen(function* () {
    const found = yield* Effect.promise(() =>
      exec("pgbench", ["--version"]).then(
        () => true,
        () => false
      )
    )
    if (!found) return Option.none<Pgbench>()
    const folder = yield* Effect.acquireRelease(
      Effect.promise(() => NodeFs.mkdtemp(NodePath.join(NodeOs.tmpdir(), "checkpool-pgbench-"))),
      (folder) => Effect.promise(() => NodeFs.rm(folder, { recursive: true }))
    )
    const file = NodePath.join(folder, "put.sql")
    yield* Effect.promise(() => NodeFs.writeFile(file, script))
    let runs = 0
    const run = async (writers: number, bytes: number, transactions: number): Promise<number> => {
      const [first, second] = makeTexts(2, bytes - 2)
      const variables = {
        step: "1",
        thread: `pgbench ${++runs}`,
        prefix: checkpointId(0).slice(0, -12),
        first: `"${first}"`,
        second: `"${second}"`,
        checkpoint: JSON.stringify({
          v: 4,
          id: checkpointId(1),
          ts: "2026-01-02T03:04:05.678Z",
          channel_versions: { messages: 12, plan: 13, context: 11, result: 12, notes: 12 },
          versions_seen: {}
        }),
        metadata: JSON.stringify({ source: "loop", step: 1, parents: {} })
      }
      const { stdout } = await exec(
        "pgbench",
        [
          ...["--no-vacuum", "--protocol=prepared", `--file=${file}`],
          ...[`--client=${writers}`, `--transactions=${transactions}`],
          ...["-h", server.host, "-p", String(server.port), "-U", server.username],
          ...Object.entries(variables).flatMap(([name, value]) => ["-D", `${name}=${value}`]),
          server.database
        ],
        { env: { ...process.env, PGPASSWORD: Redacted.value(server.password) } }
      )
      const rate = /tps = ([\d.]+) \(without initial/.exec(stdout)?.[1]
      if (rate === undefined) throw new Error(`pgbench says something new:\n${stdout}`)
      return Number(rate)
    }
    // It counts in whole seconds or in transactions: as many of these as the last run would have done in that time.
    const rates = new Map<string, number>()
    return Option.some<Pgbench>(async (writers, bytes, milliseconds) => {
      const setting = `${writers} ${bytes}`
      const perWriter = ((rates.get(setting) ?? 1000) / writers) * (milliseconds / 1000)
      const rate = await run(writers, bytes, Math.max(5, Math.round(perWriter)))
      rates.set(setting, rate)
      return rate
    })
  })
