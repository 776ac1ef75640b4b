/** @internal */
import * as Effect from "effect/Effect"
import type { Key } from "../Checkpoint.ts"
import { type LeaseLost, ThreadDeleted } from "../CheckpointError.ts"
import * as Filter from "./filter.ts"
import * as Late from "./late.ts"
import type { MemoryLeases } from "./lease/memory.ts"
import * as MemoryLife from "./life/memory.ts"
import type { Turn } from "./life/retentionMemory.ts"
import type { LifeStore } from "./life/store.ts"
import { joined, latest, type Space } from "./memorySpace.ts"
import * as Order from "./order.ts"
import * as Record from "./record.ts"
import type * as Rows from "./rows.ts"
import type { Place, Store } from "./store.ts"

/** The tables as maps. Each operation is synchronous, so it is atomic. @internal */
export const make = (
  leases: MemoryLeases
): Store<never, ThreadDeleted | LeaseLost> & LifeStore<never, ThreadDeleted | LeaseLost> => {
  const { fenced } = leases
  const spaces = new Map<string, Space>()
  const spaceOf = ({ namespace, threadId }: Place): Space => {
    const name = joined(threadId, namespace)
    const space = spaces.get(name) ?? {
      threadId,
      namespace,
      checkpoints: new Map(),
      blobs: new Map(),
      writes: new Map(),
      retired: new Map()
    }
    spaces.set(name, space)
    return space
  }
  /** The greatest id that deleting or pruning a thread has taken along. */
  const deleted = new Map<string, string>()
  const turns = new Map<string, Turn>()
  const noteGone = (threadId: string, ids: ReadonlyArray<string>): void => {
    const last = latest([...ids, ...definedIn(deleted.get(threadId))])
    if (last !== undefined) deleted.set(threadId, last)
  }
  const lateAmong = (refs: ReadonlyArray<Late.Ref>): Late.Ref | undefined =>
    refs.find((ref) => {
      const last = deleted.get(ref.threadId)
      const there = spaces.get(joined(ref.threadId, ref.namespace))?.checkpoints
      const isThere = there !== undefined && (there.has(ref.checkpointId) || there.has(ref.own))
      return last !== undefined && Order.codePoints(ref.checkpointId, last) <= 0 && !isThere
    })
  const unlessLate = (
    operation: ThreadDeleted["operation"],
    refs: ReadonlyArray<Late.Ref>,
    write: () => void
  ): Effect.Effect<void, ThreadDeleted> =>
    Effect.suspend(() => {
      const late = lateAmong(refs)
      return late === undefined ? Effect.sync(write) : new ThreadDeleted({ operation, threadId: late.threadId })
    })
  const put = ({ blobs, checkpoint }: Rows.PutRows): void => {
    const space = spaceOf(checkpoint)
    for (const blob of blobs) keepFirst(space.blobs, joined(blob.channel, blob.version), blob)
    const old = space.checkpoints.get(checkpoint.checkpointId)
    space.checkpoints.set(checkpoint.checkpointId, old ? { ...checkpoint, parentId: old.parentId } : checkpoint)
  }
  const putWrites = ({ key, rows }: Rows.WritesRows): void => {
    const { writes } = spaceOf(key)
    const ofCheckpoint = writes.get(key.checkpointId) ?? new Map<string, Rows.WriteRow>()
    writes.set(key.checkpointId, ofCheckpoint)
    for (const row of rows) {
      const name = joined(row.taskId, String(row.idx))
      const old = ofCheckpoint.get(name)
      if (old === undefined) ofCheckpoint.set(name, row)
      else if (row.idx < 0) ofCheckpoint.set(name, { ...row, taskPath: old.taskPath })
    }
  }
  const commit = (rows: Rows.CommitRows, operation: ThreadDeleted["operation"] = "commit") =>
    unlessLate(operation, Late.refsOfCommit(rows), () => {
      put(rows.put)
      rows.writes.forEach(putWrites)
    })
  return {
    ...MemoryLife.make(spaces, put, commit, noteGone, turns, fenced),
    put: (rows) =>
      fenced(
        [rows.checkpoint.threadId],
        unlessLate("put", Late.refOfPut(rows), () => put(rows))
      ),
    putWrites: (rows) =>
      fenced(
        [rows.key.threadId],
        unlessLate("putWrites", [Late.refOfWrites(rows)], () => putWrites(rows))
      ),
    commit: (rows) => fenced([rows.put.checkpoint.threadId], commit(rows)),
    deleteThread: (threadId) =>
      fenced(
        [threadId],
        Effect.sync(() => {
          turns.delete(threadId)
          for (const [name, { checkpoints, writes }] of spaces) {
            if (!name.startsWith(joined(threadId, ""))) continue
            noteGone(threadId, [...checkpoints.keys(), ...writes.keys()])
            spaces.delete(name)
          }
        })
      ),
    get: (place, checkpointId) =>
      Effect.sync(() => {
        const space = spaces.get(joined(place.threadId, place.namespace))
        const id = checkpointId ?? latest(space?.checkpoints.keys() ?? [])
        const checkpoint = id === undefined ? undefined : space?.checkpoints.get(id)
        return checkpoint && found(spaceOf(checkpoint), checkpoint)
      }),
    page: ({ after, checkpointId, filter, namespace, size, threadId, values, writes }) =>
      Effect.sync(() => {
        const asked: unknown = filter === undefined ? {} : JSON.parse(filter)
        const isAsked = (row: Rows.CheckpointRow): boolean =>
          (threadId === undefined || threadId === row.threadId) &&
          (namespace === undefined || namespace === row.namespace) &&
          (checkpointId === undefined || checkpointId === row.checkpointId) &&
          (after === undefined || isAfter(row, after)) &&
          Filter.contains(JSON.parse(row.metadata), asked)
        return Array.from(spaces.values(), ({ checkpoints }) => Array.from(checkpoints.values()).filter(isAsked))
          .flat()
          .sort(newestFirst)
          .slice(0, size)
          .map((row) => {
            const all = found(spaceOf(row), row)
            return { ...all, blobs: values ? all.blobs : [], writes: writes ? all.writes : [] }
          })
      }),
    writesTo: (keys, channel) =>
      Effect.sync(() =>
        keys.map((key) => {
          const writes = spaces.get(joined(key.threadId, key.namespace))?.writes.get(key.checkpointId)
          return Array.from(writes?.values() ?? []).filter((write) => write.channel === channel)
        })
      ),
    ancestors: (place, checkpointId, channels) =>
      Effect.sync(() => {
        const space = spaces.get(joined(place.threadId, place.namespace))
        const ancestors = new Map<string, ReturnType<typeof found>>()
        const id = checkpointId ?? latest(space?.checkpoints.keys() ?? [])
        let next = id === undefined ? undefined : space?.checkpoints.get(id)?.parentId
        while (space !== undefined && next != null && !ancestors.has(next)) {
          const row = space.checkpoints.get(next)
          if (row === undefined) break
          ancestors.set(next, found(space, row))
          next = row.parentId
        }
        return Array.from(ancestors.values(), ({ blobs, checkpoint, writes }) => ({
          checkpoint: checkpoint.checkpoint,
          blobs: blobs.filter(({ channel }) => channels.includes(channel)),
          writes: writes.filter(({ channel }) => channels.includes(channel))
        }))
      })
  }
}

const found = (space: Space, checkpoint: Rows.CheckpointRow) => ({
  checkpoint,
  blobs: Record.namedBlobs(checkpoint).flatMap(([channel, version]) => {
    const blob = space.blobs.get(joined(channel, version))
    return blob === undefined ? [] : [blob]
  }),
  writes: Array.from(space.writes.get(checkpoint.checkpointId)?.values() ?? [])
})

const newestFirst = (a: Key, b: Key): number =>
  Order.codePoints(b.checkpointId, a.checkpointId) ||
  Order.codePoints(b.threadId, a.threadId) ||
  Order.codePoints(b.namespace, a.namespace)

const isAfter = (row: Key, after: string | Key): boolean =>
  typeof after === "string" ? Order.codePoints(row.checkpointId, after) < 0 : newestFirst(row, after) > 0

const keepFirst = <A>(map: Map<string, A>, key: string, value: A): void => {
  if (!map.has(key)) map.set(key, value)
}

const definedIn = <A>(value: A | undefined): ReadonlyArray<A> => (value === undefined ? [] : [value])
