/**
 * Whose turn it is on a connection: one statement at a time, in the order of their arrival.
 *
 * `pg` would queue statements by itself, but then a cancel meant for one that waits would hit the one that runs.
 */
import * as Effect from "effect/Effect"

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

  /** Waits for the turn. Whoever has got it calls `pass` once; an interrupted wait holds nothing. */
  readonly take: Effect.Effect<void> = Effect.uninterruptibleMask((restore) => {
    let come = false
    let resume: () => void
    const start = () => {
      come = true
      resume()
    }
    const waiting = Effect.async<void>((done) => {
      resume = () => done(Effect.void)
      this.enter(start)
    })
    return Effect.onError(restore(waiting), () =>
      Effect.sync(() => {
        if (come) this.pass()
        else this.leave(start)
      })
    )
  })
}
