/** What the operations of a world ask a server for. */
import type { Key } from "../../src/Checkpoint.ts"
import type * as Batch from "../../src/internal/lanes/batch.ts"
import { law } from "./law.ts"
import type * as Random from "./random.ts"

export type Content = Batch.Item | { readonly _tag: "Sweep"; readonly mark: number }

export interface Item {
  readonly content: Content
  /** The server refuses whatever it is part of. */
  readonly bad: boolean
}

export const content = (
  kind: "put" | "writes" | "commit" | "barrier",
  threadId: string,
  n: number,
  random: Random.Random
): Content => {
  const key = { threadId, namespace: random.pick(["", "", "x"]), checkpointId: random.pick(["1", "2", "3"]) }
  if (kind === "barrier") return { _tag: "Sweep", mark: n }
  if (kind === "writes") return { _tag: "Writes", rows: written(key, n, random) }
  const put = putting(key, n, random)
  if (kind === "put") return { _tag: "Put", rows: put }
  const other = { ...key, checkpointId: random.pick(["1", "2", "3"]) }
  return { _tag: "Commit", rows: { put, writes: [written(key, n, random), written(other, n + 0.5, random)] } }
}

const written = (key: Key, n: number, random: Random.Random) => {
  const indices = [-3, -1, 0, 1, 2].filter(() => random.next() < 0.5)
  const taskId = random.pick(["t", "u"])
  const rows = indices.map((idx) => ({ taskId, taskPath: `p${n}`, idx, channel: "c", type: "json", blob: bytes(n) }))
  return { key, rows }
}

const putting = (key: Key, n: number, random: Random.Random) => {
  const channels = ["a", "b", "\uFFFD", "\u{1F388}"].filter(() => random.next() < 0.5)
  const blobs = channels.map((channel) => ({ channel, version: random.pick(["1", "2"]), type: "json", blob: bytes(n) }))
  return { checkpoint: { ...key, parentId: `p${n}`, checkpoint: `c${n}`, metadata: `m${n}` }, blobs }
}

const bytes = (n: number): Uint8Array => Buffer.from(String(n))

/** As Postgres wants it of one statement, and as keeps statements from deadlocks. */
export const sortedAndUnique = (batch: Batch.Batch): Batch.Batch => {
  const ascending = (keys: ReadonlyArray<string>) => {
    const inOrder = keys.map((key) => Buffer.from(key))
    for (let i = 1; i < inOrder.length; i++) {
      law(Buffer.compare(inOrder[i - 1]!, inOrder[i]!) < 0, "a statement's rows out of order, or a key twice")
    }
  }
  ascending(batch.checkpoints.map((_) => [_.threadId, _.namespace, _.checkpointId].join("\0")))
  ascending(batch.blobs.map(({ place, row }) => [place.threadId, place.namespace, row.channel, row.version].join("\0")))
  const tasks = batch.writes.map(({ key, row }) => [key.threadId, key.namespace, key.checkpointId, row.taskId, row.idx])
  law(new Set(tasks.map((key) => key.join("\0"))).size === tasks.length, "a write twice in a statement")
  return batch
}
