/** @internal */
import * as Effect from "effect/Effect"
import * as Order from "./order.ts"
import * as Record from "./record.ts"
import type { Place, Store } from "./store.ts"

/** The tables as maps. Each operation is synchronous, so it is atomic. @internal */
export const make = (): Store<never> => {
  const spaces = new Map<string, Space>()
  const spaceOf = ({ namespace, threadId }: Place): Space => {
    const name = joined(threadId, namespace)
    const space = spaces.get(name) ?? { checkpoints: new Map(), blobs: new Map(), writes: new Map() }
    spaces.set(name, space)
    return space
  }
  return {
    put: ({ blobs, checkpoint }) =>
      Effect.sync(() => {
        const space = spaceOf(checkpoint)
        for (const blob of blobs) keepFirst(space.blobs, joined(blob.channel, blob.version), blob)
        const old = space.checkpoints.get(checkpoint.checkpointId)
        space.checkpoints.set(checkpoint.checkpointId, old ? { ...checkpoint, parentId: old.parentId } : checkpoint)
      }),
    putWrites: (key, rows) =>
      Effect.sync(() => {
        const { writes } = spaceOf(key)
        const ofCheckpoint = writes.get(key.checkpointId) ?? new Map<string, Record.WriteRow>()
        writes.set(key.checkpointId, ofCheckpoint)
        for (const row of rows) {
          const name = joined(row.taskId, String(row.idx))
          const old = ofCheckpoint.get(name)
          if (old === undefined) ofCheckpoint.set(name, row)
          else if (row.idx < 0) ofCheckpoint.set(name, { ...row, taskPath: old.taskPath })
        }
      }),
    get: (place, checkpointId) =>
      Effect.sync(() => {
        const space = spaces.get(joined(place.threadId, place.namespace))
        const id = checkpointId ?? latest(space?.checkpoints.keys() ?? [])
        const checkpoint = id === undefined ? undefined : space?.checkpoints.get(id)
        if (space === undefined || checkpoint === undefined) return undefined
        return {
          checkpoint,
          blobs: Record.namedBlobs(checkpoint).flatMap(([channel, version]) => {
            const blob = space.blobs.get(joined(channel, version))
            return blob === undefined ? [] : [blob]
          }),
          writes: Array.from(space.writes.get(checkpoint.checkpointId)?.values() ?? [])
        }
      })
  }
}

interface Space {
  readonly checkpoints: Map<string, Record.CheckpointRow>
  readonly blobs: Map<string, Record.BlobRow>
  readonly writes: Map<string, Map<string, Record.WriteRow>>
}

// Identifiers hold no NUL, so it can stand between them.
const joined = (a: string, b: string): string => `${a}\0${b}`

const keepFirst = <A>(map: Map<string, A>, key: string, value: A): void => {
  if (!map.has(key)) map.set(key, value)
}

const latest = (ids: Iterable<string>): string | undefined => {
  let greatest: string | undefined
  for (const id of ids) if (greatest === undefined || Order.codePoints(id, greatest) > 0) greatest = id
  return greatest
}
