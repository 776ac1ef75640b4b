/**
 * The prepared statements of one connection: a name for each text, least recently used out first.
 *
 * No two connections use the same name, of whatever process: behind a pooler that nobody told us of, a connection may
 * meet a session that another one has prepared statements in, and must not run one of those by its name.
 */
import { randomBytes } from "node:crypto"

interface Entry {
  readonly text: string
  readonly name: string
  /** The higher, the later it was used. */
  usedAt: number
}

const none: ReadonlyArray<string> = []

/** @internal */
export class StatementCache {
  private readonly entries = new Map<string, Entry>()
  private readonly limit: number
  private readonly prefix = `checkpool_${randomBytes(6).toString("hex")}_`
  private made = 0
  private clock = 0

  constructor(limit: number) {
    this.limit = limit
  }

  get size(): number {
    return this.entries.size
  }

  /** The name of this text, new if it has none. `undefined`: nothing is cached. */
  nameOf(text: string): string | undefined {
    if (this.limit === 0) return undefined
    const known = this.entries.get(text)
    if (known !== undefined) {
      // Not moved to the end of the map: that costs more than to look for the oldest one when there are too many.
      known.usedAt = ++this.clock
      return known.name
    }
    const name = `${this.prefix}${++this.made}`
    this.entries.set(text, { text, name, usedAt: ++this.clock })
    return name
  }

  /** What has to be closed on the server to keep to the limit. */
  takeExcess(): ReadonlyArray<string> {
    if (this.entries.size <= this.limit) return none
    const excess = [...this.entries.values()]
      .sort((a, b) => a.usedAt - b.usedAt)
      .slice(0, this.entries.size - this.limit)
    for (const { text } of excess) this.entries.delete(text)
    return excess.map(({ name }) => name)
  }

  forget(text: string): void {
    this.entries.delete(text)
  }

  clear(): void {
    this.entries.clear()
  }
}
