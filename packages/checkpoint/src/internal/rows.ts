/**
 * The rows of LangGraph's tables.
 *
 * Those that a put makes are of classes, since they wait until they are stored (see `Operation` in `lanes/ticket.ts`).
 *
 * @internal
 */
import type { Key } from "../Checkpoint.ts"

/** @internal */
export class CheckpointRow implements Key {
  readonly threadId: string
  readonly namespace: string
  readonly checkpointId: string
  readonly parentId: string | null
  /** Text of a JSON object, fit for JSONB. */
  readonly checkpoint: string
  readonly metadata: string

  constructor(
    { checkpointId, namespace, threadId }: Key,
    parentId: string | null,
    checkpoint: string,
    metadata: string
  ) {
    this.threadId = threadId
    this.namespace = namespace
    this.checkpointId = checkpointId
    this.parentId = parentId
    this.checkpoint = checkpoint
    this.metadata = metadata
  }
}

/** @internal */
export class BlobRow {
  readonly channel: string
  readonly version: string
  readonly type: string
  /** `null` with the type `empty`: the channel has a version but no value. */
  readonly blob: Uint8Array | null

  constructor(channel: string, version: string, type: string, blob: Uint8Array | null) {
    this.channel = channel
    this.version = version
    this.type = type
    this.blob = blob
  }
}

/** @internal */
export interface WriteRow {
  readonly taskId: string
  readonly taskPath: string
  readonly idx: number
  readonly channel: string
  readonly type: string
  readonly blob: Uint8Array
}

/** @internal */
export class PutRows {
  readonly checkpoint: CheckpointRow
  /** Sorted by their key, so that concurrent statements lock them in the same order. */
  readonly blobs: ReadonlyArray<BlobRow>

  constructor(checkpoint: CheckpointRow, blobs: ReadonlyArray<BlobRow>) {
    this.checkpoint = checkpoint
    this.blobs = blobs
  }
}

/** What a task has written on top of a checkpoint: sorted by key, no key twice. @internal */
export interface WritesRows {
  readonly key: Key
  readonly rows: ReadonlyArray<WriteRow>
}

/** @internal */
export interface CommitRows {
  readonly put: PutRows
  /** In the order in which they are done; none of them is empty. */
  readonly writes: ReadonlyArray<WritesRows>
}

/** A blob that was read: as a text, where it is one in UTF-8, it need not become bytes before it is parsed. @internal */
export interface FoundBlob extends Omit<BlobRow, "blob"> {
  readonly blob: Uint8Array | string | null
}

/** A checkpoint with all its rows, these in any order. @internal */
export interface Found {
  readonly checkpoint: CheckpointRow
  readonly blobs: ReadonlyArray<FoundBlob>
  readonly writes: ReadonlyArray<WriteRow>
  /** What was sent to the tasks of a checkpoint before version 4 (see `pendingSends.ts`). */
  readonly sends?: ReadonlyArray<WriteRow> | undefined
}
