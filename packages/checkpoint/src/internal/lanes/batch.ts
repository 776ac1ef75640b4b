/**
 * Several operations as one: what they leave behind when they are done one after the other, each key once and in order,
 * since one statement can't touch a row twice, and statements that lock rows in the same order don't deadlock.
 *
 * Of equal keys: of blobs the first stays; of checkpoints the last, with the first's parent; of writes the first, at
 * an index below zero the last, with the first's task path. That is what the statements do with rows that are there.
 *
 * @internal
 */
import type { Key } from "../../Checkpoint.ts"
import * as Late from "../late.ts"
import * as Order from "../order.ts"
import type { BlobRow, CheckpointRow, CommitRows, PutRows, WriteRow, WritesRows } from "../rows.ts"
import type { Place } from "../store.ts"

/** @internal */
export type Item = Operation<"Put", PutRows> | Operation<"Writes", WritesRows> | Operation<"Commit", CommitRows>

/** A class, since it waits (see `ticket.ts`). */
class Operation<Tag, Rows> {
  readonly _tag: Tag
  readonly rows: Rows

  constructor(_tag: Tag, rows: Rows) {
    this._tag = _tag
    this.rows = rows
  }
}

/** @internal */
export const put = (rows: PutRows): Item => new Operation("Put", rows)

/** @internal */
export const writes = (rows: WritesRows): Item => new Operation("Writes", rows)

/** @internal */
export const commit = (rows: CommitRows): Item => new Operation("Commit", rows)

/** How callers know it. @internal */
export const nameOf = ({ _tag }: Item) => names[_tag]

const names = { Put: "put", Writes: "putWrites", Commit: "commit" } as const

/** @internal */
export const threadOf = (item: Item): string => placeOf(item).threadId

/** @internal */
export interface Batch {
  readonly checkpoints: ReadonlyArray<CheckpointRow>
  readonly blobs: ReadonlyArray<{ readonly place: Place; readonly row: BlobRow }>
  readonly writes: ReadonlyArray<{ readonly key: Key; readonly row: WriteRow }>
  /** The checkpoints that the operations continue. If one of them was deleted, nothing is done (see `late.ts`). */
  readonly refs: ReadonlyArray<Late.Ref>
}

/** In the order in which they were asked for. @internal */
export const merge = (items: ReadonlyArray<Item>): Batch => {
  const batch: Rows = { checkpoints: [], blobs: [], writes: [], refs: [] }
  // No key is in two places, and most often there is one operation in each: then its rows are in order, and each key is there
  // once.
  for (const [, [first, ...others]] of sorted(inPlaces(items))) {
    if (others.length === 0 && first!._tag !== "Commit") addAlone(batch, first!)
    else addMerged(batch, [first!, ...others])
  }
  return batch
}

type Rows = { readonly [K in keyof Batch]: Array<Batch[K][number]> }

const inPlaces = (items: ReadonlyArray<Item>): Map<string, Array<Item>> => {
  const places = new Map<string, Array<Item>>()
  for (const item of items) {
    const { namespace, threadId } = placeOf(item)
    // Identifiers hold no NUL, so it can stand between them; it sorts before all that they hold.
    const name = `${threadId}\0${namespace}`
    const others = places.get(name)
    if (others === undefined) places.set(name, [item])
    else others.push(item)
  }
  return places
}

const placeOf = ({ _tag, rows }: Item): Place =>
  _tag === "Put" ? rows.checkpoint : _tag === "Writes" ? rows.key : rows.put.checkpoint

const addAlone = ({ blobs, checkpoints, refs, writes }: Rows, item: Exclude<Item, { _tag: "Commit" }>): void => {
  if (item._tag === "Put") {
    const { checkpoint } = item.rows
    checkpoints.push(checkpoint)
    for (const row of item.rows.blobs) blobs.push({ place: checkpoint, row })
    refs.push(...Late.refOfPut(item.rows))
  } else {
    for (const row of item.rows.rows) writes.push({ key: item.rows.key, row })
    refs.push(Late.refOfWrites(item.rows))
  }
}

/** All of one place. */
const addMerged = (batch: Rows, items: ReadonlyArray<Item>): void => {
  const checkpoints = new Map<string, CheckpointRow>()
  const blobs = new Map<string, Batch["blobs"][number]>()
  const writes = new Map<string, Batch["writes"][number]>()
  const refs = new Map<string, Late.Ref>()
  const refer = (added: ReadonlyArray<Late.Ref>): void => {
    for (const ref of added) refs.set(`${ref.checkpointId}\0${ref.own}`, ref)
  }
  const put = ({ blobs: values, checkpoint }: PutRows): void => {
    const old = checkpoints.get(checkpoint.checkpointId)
    checkpoints.set(checkpoint.checkpointId, old === undefined ? checkpoint : { ...checkpoint, parentId: old.parentId })
    for (const row of values) {
      const name = `${row.channel}\0${row.version}`
      if (!blobs.has(name)) blobs.set(name, { place: checkpoint, row })
    }
  }
  const putWrites = ({ key, rows }: WritesRows): void => {
    for (const row of rows) {
      const name = `${key.checkpointId}\0${row.taskId}\0${row.idx}`
      const old = writes.get(name)
      if (old === undefined) writes.set(name, { key, row })
      else if (row.idx < 0) writes.set(name, { key, row: { ...row, taskPath: old.row.taskPath } })
    }
  }
  for (const item of items) {
    if (item._tag === "Put") {
      refer(Late.refOfPut(item.rows))
      put(item.rows)
    } else if (item._tag === "Writes") {
      refer([Late.refOfWrites(item.rows)])
      putWrites(item.rows)
    } else {
      refer(Late.refsOfCommit(item.rows))
      put(item.rows.put)
      item.rows.writes.forEach(putWrites)
    }
  }
  for (const [, row] of sorted(checkpoints)) batch.checkpoints.push(row)
  for (const [, blob] of sorted(blobs)) batch.blobs.push(blob)
  for (const write of [...writes.values()].sort(byKey)) batch.writes.push(write)
  batch.refs.push(...refs.values())
}

const sorted = <A>(rows: ReadonlyMap<string, A>): ReadonlyArray<readonly [string, A]> =>
  [...rows].sort(([a], [b]) => Order.codePoints(a, b))

const byKey = (a: Batch["writes"][number], b: Batch["writes"][number]): number =>
  Order.codePoints(a.key.checkpointId, b.key.checkpointId) ||
  Order.codePoints(a.row.taskId, b.row.taskId) ||
  a.row.idx - b.row.idx

/** What an operation weighs in a queue: its values, and something for the rest. @internal */
export const bytesOf = ({ _tag, rows }: Item): number =>
  _tag === "Put"
    ? bytesOfPut(rows)
    : _tag === "Writes"
      ? bytesOfRows(rows.rows)
      : rows.writes.reduce((bytes, { rows }) => bytes + bytesOfRows(rows), bytesOfPut(rows.put))

const bytesOfPut = ({ blobs, checkpoint }: PutRows): number =>
  bytesOfRows(blobs) + checkpoint.checkpoint.length + checkpoint.metadata.length

const bytesOfRows = (rows: ReadonlyArray<{ readonly blob: Uint8Array | null }>): number =>
  rows.reduce((bytes, { blob }) => bytes + 128 + (blob === null ? 0 : blob.byteLength), 256)
