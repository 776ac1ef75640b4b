/**
 * A slot is the right to hold one resource. It is taken before the resource is opened and given back after it has
 * closed, so counting slots bounds what the other side (a server, say) ever sees.
 */
import type { CloseReason } from "../../PoolEvent.ts"

/** @internal */
export const Connecting = 0
/** @internal */
export const Idle = 1
/** Under the check that follows a silence; nobody's lease. @internal */
export const Checking = 2
/** @internal */
export const Leased = 3
/** Given back, being made ready for the next borrower; nobody's lease. @internal */
export const Resetting = 4
/** @internal */
export const Closing = 5
/** Given back: not among the pool's slots any more. @internal */
export const Free = 6

/** @internal */
export type Taken = 0 | 1 | 2 | 3 | 4 | 5

/** @internal */
export type Status = Taken | typeof Free

/** @internal */
export interface Slot<A> {
  readonly id: number
  /** `expire` moves the pool's generation on; a slot of an older one is closed instead of reused. */
  readonly generation: number
  status: Status
  resource: A | undefined
  /** Since when it has this status, in ms of the monotonic clock. A lease has it only where somebody asks for it. */
  since: number
  openedAt: number
  /** End of its life by lifetime. */
  expiresAt: number
  /** By when connect, check, reset or close has to be done. */
  deadline: number
  /** How many times it was lent. */
  uses: number
  /** Names one lease: a release that carries an older number changes nothing. */
  lease: number
  /** The fiber that holds the lease; opaque to the state. */
  holder: unknown
  /** Close it instead of reusing it, and why. */
  doomed: CloseReason | undefined
  /** More on why, for the event. */
  detail: unknown
  /** A leak warning was given for this lease. */
  warned: boolean
}

/** @internal */
export const make = <A>(id: number, generation: number, now: number): Slot<A> => ({
  id,
  generation,
  status: Connecting,
  resource: undefined,
  since: now,
  openedAt: now,
  expiresAt: Number.POSITIVE_INFINITY,
  deadline: Number.POSITIVE_INFINITY,
  uses: 0,
  lease: 0,
  holder: undefined,
  doomed: undefined,
  detail: undefined,
  warned: false
})
