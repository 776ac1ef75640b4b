/** @internal */
import * as Effect from "effect/Effect"
import { ThreadExists } from "../../CheckpointError.ts"
import type { ThreadSummary } from "../../ThreadLife.ts"
import * as Filter from "../filter.ts"
import { joined, latest, type Space, type Spaces } from "../memorySpace.ts"
import * as Order from "../order.ts"
import type { PutRows } from "../record.ts"
import type { LifeStore } from "./store.ts"

/** What is done to whole threads in memory. Each operation is synchronous, so it is atomic. @internal */
export const make = (spaces: Spaces, put: (rows: PutRows) => void): LifeStore<never> => {
  const spacesOf = (threadId: string) => [...spaces.values()].filter((space) => space.threadId === threadId)
  return {
    copyThread: (sourceId, threadId) =>
      Effect.suspend(() => {
        const source = spacesOf(sourceId)
        if (source.every(isEmpty)) return Effect.void
        if (!spacesOf(threadId).every(isEmpty)) return new ThreadExists({ threadId })
        for (const { blobs, checkpoints, namespace, writes } of source) {
          spaces.set(joined(threadId, namespace), {
            threadId,
            namespace,
            checkpoints: new Map(Array.from(checkpoints, ([id, row]) => [id, { ...row, threadId }])),
            blobs: new Map(blobs),
            writes: new Map(Array.from(writes, ([id, rows]) => [id, new Map(rows)]))
          })
        }
        return Effect.void
      }),
    fork: (place, checkpointId, fork) =>
      Effect.sync(() => {
        const space = spaces.get(joined(place.threadId, place.namespace))
        const source = space?.checkpoints.get(checkpointId)
        if (space === undefined || source === undefined) return undefined
        const checkpoint = fork(source, latest(space.checkpoints.keys())!)
        put({ checkpoint, blobs: [] })
        return checkpoint.checkpointId
      }),
    deleteForRuns: (runIds) =>
      Effect.sync(() => {
        for (const space of spaces.values()) {
          remove(
            space,
            Array.from(space.checkpoints.values()).flatMap(({ checkpointId, metadata }) =>
              runIds.includes(JSON.parse(metadata).run_id) ? [checkpointId] : []
            )
          )
        }
      }),
    threads: ({ after, before, filter, size }) =>
      Effect.sync(() => {
        const asked: unknown = filter === undefined ? {} : JSON.parse(filter)
        const ids = new Set(
          Array.from(spaces.values()).flatMap(({ checkpoints, threadId }) => (checkpoints.size > 0 ? [threadId] : []))
        )
        return [...ids]
          .filter((id) => after === undefined || Order.codePoints(id, after) > 0)
          .filter((id) => before === undefined || Order.codePoints(id, before) < 0)
          .sort(Order.codePoints)
          .slice(0, size)
          .map((threadId) => {
            const summary = summaryOf(threadId, spacesOf(threadId))
            const matches = spacesOf(threadId).some(({ checkpoints }) =>
              [...checkpoints.values()].some(({ metadata }) => Filter.contains(JSON.parse(metadata), asked))
            )
            return matches ? summary : { threadId }
          })
      })
  }
}

const isEmpty = ({ blobs, checkpoints, writes }: Space): boolean => blobs.size + checkpoints.size + writes.size === 0

/** With their pending writes; what goes on from them has no parent any more. */
const remove = ({ checkpoints, writes }: Space, ids: ReadonlyArray<string>): void => {
  for (const id of ids) {
    checkpoints.delete(id)
    writes.delete(id)
  }
  const gone = new Set<string | null>(ids)
  for (const [id, row] of checkpoints) if (gone.has(row.parentId)) checkpoints.set(id, { ...row, parentId: null })
}

const summaryOf = (threadId: string, spaces: ReadonlyArray<Space>): ThreadSummary => {
  const checkpoints = spaces.flatMap(({ checkpoints }) => [...checkpoints.values()])
  const values = spaces.flatMap(({ blobs, writes }) => [
    ...blobs.values(),
    ...Array.from(writes.values()).flatMap((rows) => [...rows.values()])
  ])
  return {
    threadId,
    checkpoints: checkpoints.length,
    bytes: values.reduce((bytes, { blob }) => bytes + (blob?.byteLength ?? 0), 0),
    lastActivity: latest(checkpoints.map(({ checkpoint }) => JSON.parse(checkpoint).ts ?? "")) ?? ""
  }
}
