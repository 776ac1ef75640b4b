/** What can happen in a world, how often each thing is drawn, and how small its lanes are. */
import type { Config } from "../../src/internal/lanes/state.ts"
import type * as Random from "./random.ts"

/** Operations and how often each is drawn. */
const weights = {
  put: 22,
  writes: 9,
  commit: 6,
  barrier: 3,
  dispatch: 25,
  /** The server does what it is asked, or refuses it if something in it is bad. */
  answer: 30,
  saturated: 2,
  conflict: 1.5,
  /** The connection is lost before or after the server was done. */
  lostBefore: 1.5,
  lostAfter: 1.5,
  fatal: 0.3,
  interrupt: 5,
  /** Time passes, and the timer fires if something is due. */
  pass: 20,
  passUnnoticed: 3,
  close: 0.05
}
export type Kind_ = keyof typeof weights
export interface Operation {
  readonly kind: Kind_
  readonly n: number
}

const kinds = Object.keys(weights) as Array<Kind_>
const sum = kinds.reduce((sum, kind) => sum + weights[kind], 0)

export const draw = (random: Random.Random): Operation => {
  let left = random.next() * sum
  const kind =
    kinds.find((kind) => {
      left -= weights[kind]
      return left < 0
    }) ?? "pass"
  return { kind, n: random.between(0, 1_000_000) }
}

/** Lanes small enough for every limit to be met often. */
export const config = (random: Random.Random): Config => ({
  maxInFlight: random.between(1, 3),
  maxBatch: random.pick([1, 2, 4, 16]),
  maxBatchBytes: random.pick([25, 60, 100_000]),
  maxQueued: random.pick([3, 12, 1_000]),
  maxQueuedBytes: random.pick([20, 300, 100_000]),
  maxConflicts: random.pick([1, 3]),
  retryBase: random.pick([5, 50]),
  retryCap: 200,
  random: random.next
})
