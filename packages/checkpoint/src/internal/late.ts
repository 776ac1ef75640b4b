/**
 * Writes that come too late: they continue a checkpoint that the deletion of its thread has taken along. A deletion notes
 * the greatest id that it took; what refers to an id up to that one, which is not there (any more), is late. A put that is
 * there itself is not: it is done again, because the answer was lost, and what it continued was pruned since.
 *
 * The statements look that up themselves and fail on it, so that nothing of them is done, whatever else goes with them.
 *
 * @internal
 */
import type { Key } from "../Checkpoint.ts"
import * as Marks from "./marks.ts"
import type { CommitRows, PutRows, WritesRows } from "./rows.ts"

/** How long a deletion is remembered. @internal */
export const memory = "7 days"

/** The checkpoint that an operation refers to, and the one that it stores itself, which will do instead. @internal */
export interface Ref extends Key {
  readonly own: string
}

/** The checkpoint that a put continues. @internal */
export const refOfPut = ({ checkpoint }: PutRows): ReadonlyArray<Ref> => {
  const { checkpointId: own, namespace, parentId, threadId } = checkpoint
  return parentId === null ? [] : [{ threadId, namespace, checkpointId: parentId, own }]
}

/** The checkpoint that writes are on top of. @internal */
export const refOfWrites = ({ key }: WritesRows): Ref => ({ ...key, own: key.checkpointId })

/** The checkpoints that a commit needs, beside the one that it brings along. @internal */
export const refsOfCommit = ({ put, writes }: CommitRows): ReadonlyArray<Ref> => [
  ...refOfPut(put),
  ...writes.filter(({ key }) => key.checkpointId !== put.checkpoint.checkpointId).map(refOfWrites)
]

/** @internal */
export const mark = "checkpool: this thread was deleted: "

/** Whether that is what a statement failed on. @internal */
export const isLate = (error: unknown): boolean => Marks.failedOn(error, mark)
