/** @internal */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import { type LeaseLost, StaleHead, type ThreadDeleted, ThreadExists } from "../../CheckpointError.ts"
import type { ThreadSummary } from "../../ThreadLife.ts"
import * as Filter from "../filter.ts"
import type { MemoryLeases } from "../lease/memory.ts"
import { joined, latest, type Space, type Spaces } from "../memorySpace.ts"
import * as Order from "../order.ts"
import type { CommitRows, PutRows } from "../rows.ts"
import * as MemoryPrune from "./memoryPrune.ts"
import * as MemoryRetention from "./retentionMemory.ts"
import type { LifeStore } from "./store.ts"

/** What is done to whole threads in memory. Each operation is synchronous, so it is atomic. @internal */
export const make = (
  spaces: Spaces,
  put: (rows: PutRows) => void,
  commit: (rows: CommitRows, name: "put" | "commit") => Effect.Effect<void, ThreadDeleted>,
  noteGone: (threadId: string, ids: ReadonlyArray<string>) => void,
  turns: Map<string, MemoryRetention.Turn>,
  fenced: MemoryLeases["fenced"]
): LifeStore<never, ThreadDeleted | LeaseLost> => {
  const spacesOf = (threadId: string) => [...spaces.values()].filter((space) => space.threadId === threadId)
  return {
    ...MemoryRetention.make(spaces, turns, noteGone, fenced),
    commitAt: (name, rows, expected) =>
      fenced(
        [rows.put.checkpoint.threadId],
        Effect.suspend((): Effect.Effect<void, StaleHead | ThreadDeleted> => {
          const { checkpointId, namespace, threadId } = rows.put.checkpoint
          const actual = latest(spaces.get(joined(threadId, namespace))?.checkpoints.keys() ?? []) ?? null
          return actual === expected || actual === checkpointId
            ? commit(rows, name)
            : new StaleHead({ threadId, namespace, expected, actual })
        })
      ),
    copyThread: (sourceId, threadId) =>
      fenced(
        [sourceId, threadId],
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
              writes: new Map(Array.from(writes, ([id, rows]) => [id, new Map(rows)])),
              retired: new Map()
            })
          }
          return Effect.void
        })
      ),
    fork: (place, checkpointId, fork) =>
      fenced(
        [place.threadId],
        Effect.sync(() => {
          const space = spaces.get(joined(place.threadId, place.namespace))
          const source = space?.checkpoints.get(checkpointId)
          if (space === undefined || source === undefined) return undefined
          const checkpoint = fork(source, latest(space.checkpoints.keys())!)
          put({ checkpoint, blobs: [] })
          return checkpoint.checkpointId
        })
      ),
    deleteForRuns: (runIds) => {
      const ofRuns = ({ checkpoints }: Space) =>
        Array.from(checkpoints.values()).flatMap(({ checkpointId, metadata }) =>
          runIds.includes(JSON.parse(metadata).run_id) ? [checkpointId] : []
        )
      return Effect.suspend(() => {
        const found = Array.from(spaces.values()).filter((space) => ofRuns(space).length > 0)
        return Effect.forEach(
          new Set(found.map(({ threadId }) => threadId)),
          (threadId) =>
            fenced(
              [threadId],
              Effect.sync(() => {
                for (const space of spacesOf(threadId)) {
                  const ids = ofRuns(space)
                  MemoryPrune.remove(space, ids)
                  noteGone(threadId, ids)
                }
              })
            ),
          { discard: true }
        )
      })
    },
    prune: (query) =>
      fenced(
        [query.threadId],
        Effect.sync(() => {
          const doomed = spacesOf(query.threadId)
            .flatMap((space) => MemoryPrune.mayGo(space, query).map((id) => ({ space, id })))
            .sort((a, b) => Order.codePoints(a.id, b.id) || Order.codePoints(a.space.namespace, b.space.namespace))
            .slice(0, query.size)
          let [pendingWrites, bytes] = [0, 0]
          for (const space of spacesOf(query.threadId)) {
            const gone = MemoryPrune.remove(
              space,
              doomed.flatMap((each) => (each.space === space ? [each.id] : []))
            )
            pendingWrites += gone.length
            bytes += MemoryPrune.sizeOf(gone)
          }
          noteGone(
            query.threadId,
            doomed.map(({ id }) => id)
          )
          return { checkpoints: doomed.length, pendingWrites, bytes }
        })
      ),
    collect: ({ grace, size, threadId }) =>
      fenced(
        [threadId],
        Effect.map(Clock.currentTimeMillis, (now) => {
          let [values, bytes, waiting] = [0, 0, 0]
          for (const space of spacesOf(threadId)) {
            const gone = MemoryPrune.collect(space, grace, now, size - values)
            values += gone.values
            bytes += gone.bytes
            waiting += gone.waiting
          }
          return { values, bytes, waiting }
        })
      ),
    prunePlan: (query) =>
      Effect.sync(() => {
        let [checkpoints, pendingWrites, values, bytes] = [0, 0, 0, 0]
        for (const space of spacesOf(query.threadId)) {
          const { checkpoints: rows, writes: all } = space
          const rest: Space = { ...space, checkpoints: new Map(rows), writes: new Map(all), retired: new Map() }
          const ids = MemoryPrune.mayGo(space, query)
          const writes = MemoryPrune.remove(rest, ids)
          const blobs = MemoryPrune.unnamed(rest).map((name) => space.blobs.get(name)!)
          checkpoints += ids.length
          pendingWrites += writes.length
          values += blobs.length
          bytes += MemoryPrune.sizeOf([...writes, ...blobs])
        }
        return { checkpoints, pendingWrites, values, bytes }
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

const summaryOf = (threadId: string, spaces: ReadonlyArray<Space>): ThreadSummary => {
  const checkpoints = spaces.flatMap(({ checkpoints }) => [...checkpoints.values()])
  const values = spaces.flatMap(({ blobs, writes }) => [
    ...blobs.values(),
    ...Array.from(writes.values()).flatMap((rows) => [...rows.values()])
  ])
  return {
    threadId,
    checkpoints: checkpoints.length,
    bytes: MemoryPrune.sizeOf(values),
    lastActivity: latest(checkpoints.map(({ checkpoint }) => JSON.parse(checkpoint).ts ?? "")) ?? ""
  }
}
