/**
 * One namespace of one thread in memory: what the tables hold of it.
 *
 * @internal
 */
import * as Order from "./order.ts"
import type * as Rows from "./rows.ts"

/** @internal */
export interface Space {
  readonly threadId: string
  readonly namespace: string
  readonly checkpoints: Map<string, Rows.CheckpointRow>
  /** By channel and version, {@link joined}. */
  readonly blobs: Map<string, Rows.BlobRow>
  /** By checkpoint; then by task and index, {@link joined}. */
  readonly writes: Map<string, Map<string, Rows.WriteRow>>
  /** Since when no checkpoint has named a blob. */
  readonly retired: Map<string, number>
}

/** By thread and namespace, {@link joined}. @internal */
export type Spaces = Map<string, Space>

/** Identifiers hold no NUL, so it can stand between them. @internal */
export const joined = (a: string, b: string): string => `${a}\0${b}`

/** The greatest by code point. @internal */
export const latest = (ids: Iterable<string>): string | undefined => {
  let greatest: string | undefined
  for (const id of ids) if (greatest === undefined || Order.codePoints(id, greatest) > 0) greatest = id
  return greatest
}
