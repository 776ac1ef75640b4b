/**
 * Whose turn it is on a connection: one statement at a time, in the order of their arrival.
 *
 * `pg` would queue statements by itself, but then a cancel meant for one that waits would hit the one that runs.
 */
/** @internal */
export class Turn {
  private taken = false
  private readonly line: Array<() => void> = []

  /** Nobody runs and nobody waits. */
  get free(): boolean {
    return !this.taken
  }

  /** Runs `start` now if it is free, or when the turn has come. Whoever was started calls `pass` once. */
  enter(start: () => void): void {
    if (this.taken) {
      this.line.push(start)
    } else {
      this.taken = true
      start()
    }
  }

  /** Gives up waiting. */
  leave(start: () => void): void {
    const index = this.line.indexOf(start)
    if (index >= 0) this.line.splice(index, 1)
  }

  pass(): void {
    const next = this.line.shift()
    if (next === undefined) this.taken = false
    else next()
  }
}
