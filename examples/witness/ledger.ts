/**
 * What was written, by our own account: to be compared with what is in the database.
 */
import type { Conversation } from "./conversation.ts"

/** `acked`: the write succeeded; `doubtful`: we were told otherwise, or stopped listening. */
export interface Entry {
  readonly conversation: Conversation
  readonly turn: number
  readonly checkpointId: string
  readonly parentId: string | undefined
  acked: boolean
}

export class Ledger {
  readonly entries: Array<Entry> = []
  private conversations = 0

  /** The number of a new conversation. */
  next(): number {
    return this.conversations++
  }

  /** Noted before the write is tried, so that one that nobody hears of again is known too. */
  tried(entry: Omit<Entry, "acked">): Entry {
    const noted = { ...entry, acked: false }
    this.entries.push(noted)
    return noted
  }
}
