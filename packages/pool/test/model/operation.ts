/**
 * What can happen to a pool, as data: a run is a list of these, so it can be printed, replayed and shrunk.
 *
 * `n` chooses: which of the leases, of the waiters, of the connects, how many milliseconds. It counts modulo what there
 * is, so that an operation keeps a meaning when those before it are left out.
 */
import type { Random } from "./random.ts"

/** Operations and how often each is drawn. */
const weights = {
  acquire: 30,
  release: 12,
  releaseWithReset: 6,
  releaseClosing: 1,
  releaseAgain: 2,
  hookFails: 1,
  /** The fiber of a granted waiter goes on. */
  resume: 16,
  /** An interrupt meets a caller that waits. */
  cancelWaiting: 4,
  /** An interrupt meets a caller that was given a slot and has not gone on yet. */
  cancelGranted: 4,
  connectOk: 12,
  connectFails: 5,
  connectFatal: 1,
  connectAtCapacity: 2,
  checkOk: 4,
  checkFails: 1,
  resetOk: 4,
  resetCloses: 1,
  resetFails: 1,
  closeOk: 10,
  /** Something that the pool gave up on ends after all, well or badly. */
  lateSuccess: 2,
  lateFailure: 2,
  invalidate: 2,
  expire: 0.5,
  resize: 1,
  /** Time passes, and the timer fires if something is due. */
  pass: 20,
  /** Time passes, and the timer is late. */
  passUnnoticed: 4,
  drain: 0.05
}

export type Kind = keyof typeof weights

export interface Operation {
  readonly kind: Kind
  readonly n: number
}

const kinds = Object.keys(weights) as Array<Kind>
const sum = kinds.reduce((sum, kind) => sum + weights[kind], 0)

export const draw = (random: Random): Operation => {
  let left = random.next() * sum
  const kind =
    kinds.find((kind) => {
      left -= weights[kind]
      return left < 0
    }) ?? "pass"
  const passes = kind === "pass" || kind === "passUnnoticed"
  return { kind, n: passes ? random.between(0, random.pick([10, 100, 1_000])) : random.between(0, 99) }
}

export const show = (operation: Operation): string => `${operation.kind} ${operation.n}`

/**
 * Leaves out of a failing run what it fails without: ever smaller pieces, until nothing more can go.
 */
export const shrink = (
  operations: ReadonlyArray<Operation>,
  fails: (operations: ReadonlyArray<Operation>) => boolean
): ReadonlyArray<Operation> => {
  let current = operations
  for (let size = Math.ceil(current.length / 2); size >= 1; size = size === 1 ? 0 : Math.ceil(size / 2)) {
    for (let at = 0; at < current.length; ) {
      const candidate = [...current.slice(0, at), ...current.slice(at + size)]
      if (fails(candidate)) current = candidate
      else at += size
    }
  }
  return current.length < operations.length ? shrink(current, fails) : current
}
