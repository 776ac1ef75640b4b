/** @internal */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type { LeaseLost } from "../../CheckpointError.ts"
import type { MemoryLeases } from "../lease/memory.ts"
import { latest, type Space, type Spaces } from "../memorySpace.ts"
import * as Order from "../order.ts"
import * as MemoryPrune from "./memoryPrune.ts"
import type { Candidate, Range, RetentionStore } from "./retentionStore.ts"

/** What is known about a thread, beside what it holds. @internal */
export interface Turn {
  readonly ttl: number | undefined
  readonly ttlSetAt: number
  readonly lookedAt: number
  readonly leasedUntil: number
}

const fresh: Turn = {
  ttl: undefined,
  ttlSetAt: 0,
  lookedAt: Number.NEGATIVE_INFINITY,
  leasedUntil: Number.NEGATIVE_INFINITY
}

/** @internal */
export const make = (
  spaces: Spaces,
  turns: Map<string, Turn>,
  noteGone: (threadId: string, ids: ReadonlyArray<string>) => void,
  fenced: MemoryLeases["fenced"]
): RetentionStore<never, LeaseLost> => {
  const spacesOf = (threadId: string) => [...spaces.values()].filter((space) => space.threadId === threadId)
  const turnOf = (threadId: string) => turns.get(threadId) ?? fresh
  const threads = ({ after, before }: Range): ReadonlyArray<string> => {
    const ids = Array.from(spaces.values()).flatMap((space) => (isOver([space]) ? [] : [space.threadId]))
    return [...new Set(ids)]
      .filter((id) => after === undefined || Order.codePoints(id, after) > 0)
      .filter((id) => before === undefined || Order.codePoints(id, before) < 0)
      .sort(Order.codePoints)
  }
  const candidate = (threadId: string): Candidate => ({
    threadId,
    ttl: turnOf(threadId).ttl,
    lastActivity: lastActivityOf(spacesOf(threadId))
  })
  return {
    setTtl: (threadId, ttl) =>
      Effect.map(Clock.currentTimeMillis, (ttlSetAt) => {
        if (ttl !== undefined || turns.has(threadId)) turns.set(threadId, { ...turnOf(threadId), ttl, ttlSetAt })
      }),
    ttl: (threadId) => Effect.sync(() => turnOf(threadId).ttl),
    enrol: (query) =>
      Effect.sync(() => {
        const page = threads(query).slice(0, query.size)
        for (const id of page) turns.set(id, turnOf(id))
        return { last: page.length < query.size ? undefined : page.at(-1), busy: false }
      }),
    claim: ({ after, before, every, lease, since, size }) =>
      Effect.map(Clock.currentTimeMillis, (now) => {
        const ids = Array.from(turns)
          .filter(
            ([id, { leasedUntil, lookedAt }]) =>
              lookedAt <= now - every &&
              leasedUntil <= now &&
              (since === undefined || lookedAt < Number(since)) &&
              (after === undefined || Order.codePoints(id, after) > 0) &&
              (before === undefined || Order.codePoints(id, before) < 0)
          )
          .sort(([, a], [, b]) => a.lookedAt - b.lookedAt)
          .slice(0, size)
          .map(([id]) => id)
        for (const id of ids) turns.set(id, { ...turnOf(id), lookedAt: now, leasedUntil: now + lease })
        return { at: String(now), threads: ids.map(candidate) }
      }),
    release: (done, undone) =>
      Effect.map(Clock.currentTimeMillis, (now) => {
        for (const id of done) {
          const turn = turns.get(id)
          if (turn === undefined) continue
          const forgotten = turn.ttl === undefined || now - turn.ttlSetAt > turn.ttl
          if (forgotten && isOver(spacesOf(id))) turns.delete(id)
          else turns.set(id, { ...turn, leasedUntil: fresh.leasedUntil })
        }
        for (const id of undone) {
          const { lookedAt, leasedUntil } = fresh
          if (turns.has(id)) turns.set(id, { ...turnOf(id), lookedAt, leasedUntil })
        }
      }),
    peek: (query) => Effect.sync(() => threads(query).slice(0, query.size).map(candidate)),
    expire: (threadId, before) =>
      fenced(
        [threadId],
        Effect.sync(() => {
          const own = spacesOf(threadId)
          const last = lastActivityOf(own)
          if (last === "" || Order.codePoints(last, before) >= 0) return undefined
          const [ids, written] = [
            own.flatMap(({ checkpoints }) => [...checkpoints.keys()]),
            own.flatMap(({ writes }) => [...writes.keys()])
          ]
          const gone = own.flatMap(({ writes }) => Array.from(writes.values()).flatMap((rows) => [...rows.values()]))
          for (const space of own) {
            space.checkpoints.clear()
            space.writes.clear()
            space.retired.clear()
          }
          noteGone(threadId, [...ids, ...written])
          if (turns.has(threadId)) turns.set(threadId, { ...turnOf(threadId), ttl: undefined })
          return { checkpoints: ids.length, pendingWrites: gone.length, bytes: MemoryPrune.sizeOf(gone) }
        })
      ),
    expirePlan: (threadId) =>
      Effect.sync(() => {
        const own = spacesOf(threadId)
        const writes = own.flatMap(({ writes }) => Array.from(writes.values()).flatMap((rows) => [...rows.values()]))
        const blobs = own.flatMap(({ blobs }) => [...blobs.values()])
        return {
          checkpoints: own.reduce((sum, { checkpoints }) => sum + checkpoints.size, 0),
          pendingWrites: writes.length,
          values: blobs.length,
          bytes: MemoryPrune.sizeOf([...writes, ...blobs])
        }
      })
  }
}

/** Whether nothing is left but, perhaps, writes whose checkpoint never came. */
const isOver = (spaces: ReadonlyArray<Space>): boolean =>
  spaces.every(({ blobs, checkpoints }) => blobs.size + checkpoints.size === 0)

const lastActivityOf = (spaces: ReadonlyArray<Space>): string =>
  latest(
    spaces.flatMap(({ checkpoints }) =>
      Array.from(checkpoints.values(), ({ checkpoint }) => String(JSON.parse(checkpoint).ts ?? ""))
    )
  ) ?? ""
