/**
 * Thins out the history of one namespace in memory, as plain functions.
 *
 * @internal
 */
import { InvalidIdentifier } from "../../CheckpointError.ts"
import * as Identifiers from "../identifiers.ts"
import * as Jsonb from "../jsonb.ts"
import { joined, type Space } from "../memorySpace.ts"
import * as Order from "../order.ts"
import * as PendingSends from "../pendingSends.ts"
import * as Record from "../record.ts"
import type * as Rows from "../rows.ts"
import { deltaCounters } from "./prune.ts"
import type { PruneQuery } from "./store.ts"

/** The ids of the checkpoints that may go. @internal */
export const mayGo = (space: Space, { before, deltaChannels, keepLast }: PruneQuery): ReadonlyArray<string> => {
  const { checkpoints, writes } = space
  const ids = [...checkpoints.keys()].sort((a, b) => Order.codePoints(b, a))
  const continued = new Set(Array.from(checkpoints.values(), ({ parentId }) => parentId))
  const chosen = ids.filter((id, rank) => {
    const { ts = "" } = JSON.parse(checkpoints.get(id)!.checkpoint)
    const isOld = before === undefined || Order.codePoints(String(ts), before) < 0
    return rank < keepLast || !isOld || ((writes.get(id)?.size ?? 0) > 0 && !continued.has(id))
  })
  const kept = new Set(chosen)
  for (const id of chosen) {
    const { checkpoint, metadata, parentId } = checkpoints.get(id)!
    if (parentId === null) continue
    const { v } = JSON.parse(checkpoint)
    const sent = Array.from(writes.get(parentId)?.values() ?? []).some(({ channel }) => channel === PendingSends.tasks)
    if (typeof v === "number" && v < 4 && sent) kept.add(parentId)
    const counters: unknown = JSON.parse(metadata)[deltaCounters]
    const counted = typeof counters === "object" && counters !== null && !Array.isArray(counters) ? counters : {}
    for (const channel of new Set([...deltaChannels, ...Object.keys(counted)])) {
      const passed = new Set([id])
      for (let at = id; !hasValue(space, at, channel); ) {
        const parent = checkpoints.get(at)?.parentId
        if (parent == null || passed.has(parent)) break
        passed.add(parent)
        kept.add(parent)
        at = parent
      }
    }
  }
  return ids.filter((id) => !kept.has(id))
}

const hasValue = ({ blobs, checkpoints }: Space, id: string, channel: string): boolean => {
  const row = checkpoints.get(id)
  if (row === undefined) return false
  const { channel_values: values, channel_versions: versions = {}, ...rest } = JSON.parse(row.checkpoint)
  const version = Object.hasOwn(versions, channel) ? Identifiers.versionText(versions[channel]) : undefined
  const stored =
    version === undefined || version instanceof InvalidIdentifier ? undefined : blobs.get(joined(channel, version))
  return (
    stored?.blob != null || (values != null && Object.hasOwn(values, channel) && !Object.hasOwn(rest, Jsonb.exactKey))
  )
}

/** Removes checkpoints and gives their pending writes; what goes on from them has no parent any more. @internal */
export const remove = (
  { checkpoints, retired, writes }: Space,
  ids: ReadonlyArray<string>
): ReadonlyArray<Rows.WriteRow> => {
  const gone = ids.flatMap((id) => [...(writes.get(id)?.values() ?? [])])
  for (const id of ids) {
    // The grace of the values that it names begins now, whatever was known of them before.
    const row = checkpoints.get(id)
    if (row !== undefined)
      for (const [channel, version] of Record.namedBlobs(row)) retired.delete(joined(channel, version))
    checkpoints.delete(id)
    writes.delete(id)
  }
  const parents = new Set<string | null>(ids)
  for (const [id, row] of checkpoints) if (parents.has(row.parentId)) checkpoints.set(id, { ...row, parentId: null })
  return gone
}

/** The blobs that no checkpoint names. @internal */
export const unnamed = ({ blobs, checkpoints }: Space): ReadonlyArray<string> => {
  const named = new Set(
    Array.from(checkpoints.values()).flatMap((row) =>
      Record.namedBlobs(row).map(([channel, version]) => joined(channel, version))
    )
  )
  return [...blobs.keys()].filter((name) => !named.has(name))
}

/** Removes up to `size` blobs that no checkpoint has named for as long as the grace. @internal */
export const collect = (
  space: Space,
  grace: number,
  now: number,
  size: number
): { readonly values: number; readonly bytes: number; readonly waiting: number } => {
  const { blobs, retired } = space
  const names = unnamed(space)
  const due = names
    .filter((name) => grace <= 0 || (retired.get(name) ?? Number.POSITIVE_INFINITY) <= now - grace)
    .slice(0, size)
  const gone = due.map((name) => blobs.get(name)!)
  for (const name of due) blobs.delete(name)
  const waiting = unnamed(space)
  for (const name of retired.keys()) if (!waiting.includes(name)) retired.delete(name)
  if (grace > 0) for (const name of waiting) if (!retired.has(name)) retired.set(name, now)
  return { values: due.length, bytes: sizeOf(gone), waiting: waiting.length }
}

/** @internal */
export const sizeOf = (rows: ReadonlyArray<{ readonly blob: Uint8Array | null }>): number =>
  rows.reduce((bytes, { blob }) => bytes + (blob?.byteLength ?? 0), 0)
