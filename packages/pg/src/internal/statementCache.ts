/**
 * The prepared statements of one connection: a name for each text, least recently used out first.
 */

/** @internal */
export class StatementCache {
  private readonly names = new Map<string, string>()
  private readonly limit: number
  private made = 0

  constructor(limit: number) {
    this.limit = limit
  }

  get size(): number {
    return this.names.size
  }

  /** The name of this text, new if it has none. `undefined`: nothing is cached. */
  nameOf(text: string): string | undefined {
    if (this.limit === 0) return undefined
    const known = this.names.get(text)
    if (known !== undefined) {
      // A map keeps the order of insertion: to be last is to have been used last.
      this.names.delete(text)
      this.names.set(text, known)
      return known
    }
    const name = `checkpool_${++this.made}`
    this.names.set(text, name)
    return name
  }

  /** What has to be closed on the server to keep to the limit. */
  takeExcess(): ReadonlyArray<string> {
    const excess: Array<string> = []
    for (const [text, name] of this.names) {
      if (this.names.size <= this.limit) break
      this.names.delete(text)
      excess.push(name)
    }
    return excess
  }

  forget(text: string): void {
    this.names.delete(text)
  }

  clear(): void {
    this.names.clear()
  }
}
