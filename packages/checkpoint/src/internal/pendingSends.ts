/**
 * Checkpoints before version 4 of the format leave what a step sent to the tasks of the next one among the pending
 * writes of their parent. Since then it is the value of a channel, and that is how readers get it from all of them.
 *
 * @internal
 */
import * as Effect from "effect/Effect"
import type { ChannelVersion, ChannelVersions, Key } from "../Checkpoint.ts"
import * as Order from "./order.ts"
import type { CheckpointRow, Found } from "./rows.ts"
import type { Store } from "./store.ts"

/** The channel of what was sent. @internal */
export const tasks = "__pregel_tasks"

/** Reads what was sent to the checkpoints that are so old, and nothing if none is. @internal */
export const attach = <E>(
  store: Pick<Store<E>, "writesTo">,
  found: ReadonlyArray<Found>
): Effect.Effect<ReadonlyArray<Found>, E> => {
  const parents = new Map<Found, Key>()
  for (const each of found) {
    const { checkpoint } = each
    if (checkpoint.parentId !== null && isOld(checkpoint)) {
      parents.set(each, { ...checkpoint, checkpointId: checkpoint.parentId })
    }
  }
  if (parents.size === 0) return Effect.succeed(found)
  return Effect.map(store.writesTo([...parents.values()], tasks), (writes) => {
    const sends = new Map(Array.from(parents.keys(), (each, i) => [each, writes[i] ?? []]))
    return found.map((each) => ({ ...each, sends: sends.get(each) }))
  })
}

// Looks before it parses: this is asked of each checkpoint that is read, and hardly any is so old.
const isOld = ({ checkpoint }: CheckpointRow): boolean => {
  if (!/"v":\s*[-0-3]/.test(checkpoint)) return false
  const { v } = JSON.parse(checkpoint) as { readonly v?: unknown }
  return typeof v === "number" && v < 4
}

/** The version that the value counts as: the greatest of the others. @internal */
export const version = (versions: ChannelVersions): ChannelVersion => {
  const all = Object.values(versions)
  return all.length === 0 ? 1 : all.reduce((a, b) => (compare(a, b) >= 0 ? a : b))
}

const compare = (a: ChannelVersion, b: ChannelVersion): number =>
  typeof a === "number" && typeof b === "number" ? a - b : Order.codePoints(String(a), String(b))
