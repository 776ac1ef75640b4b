/**
 * The tables as maps, with what each statement does to rows that are there. Operations reach it merged or one by one.
 */
import type * as Batch from "../../src/internal/lanes/batch.ts"

export class Server {
  private readonly tables = new Map<string, Map<string, string>>()

  apply({ blobs, checkpoints, writes }: Batch.Batch): void {
    for (const { checkpoint, checkpointId, metadata, namespace, parentId, threadId } of checkpoints) {
      const old = this.row(threadId, "checkpoint", namespace, checkpointId)
      const parent = old === undefined ? parentId : JSON.parse(old).parent
      this.set(JSON.stringify({ parent, checkpoint, metadata }), threadId, "checkpoint", namespace, checkpointId)
    }
    for (const { place, row } of blobs) {
      const key = [place.threadId, "blob", place.namespace, row.channel, row.version] as const
      if (this.row(...key) === undefined) this.set(`${row.type} ${row.blob?.toString()}`, ...key)
    }
    for (const { key: of, row } of writes) {
      const key = [of.threadId, "write", of.namespace, of.checkpointId, row.taskId, String(row.idx)] as const
      const old = this.row(...key)
      if (old !== undefined && row.idx >= 0) continue
      const path = old === undefined ? row.taskPath : JSON.parse(old).path
      this.set(JSON.stringify({ path, channel: row.channel, type: row.type, blob: row.blob.toString() }), ...key)
    }
  }

  /** What a barrier does here: it leaves nothing of the thread but its own mark. */
  sweep(threadId: string, mark: number): void {
    this.tables.set(threadId, new Map([["swept", String(mark)]]))
  }

  /** Everything of a thread. */
  picture(threadId: string): string {
    return JSON.stringify([...(this.tables.get(threadId) ?? [])].sort())
  }

  private row(threadId: string, ...key: ReadonlyArray<string>): string | undefined {
    return this.tables.get(threadId)?.get(key.join("\0"))
  }

  private set(value: string, threadId: string, ...key: ReadonlyArray<string>): void {
    const table = this.tables.get(threadId) ?? new Map<string, string>()
    this.tables.set(threadId, table.set(key.join("\0"), value))
  }
}
