/**
 * Bounded waiting: as many callers as allowed, and for all others an answer at once.
 */
import { PoolEvent } from "../../PoolEvent.ts"
import type { Rejection } from "./rejection.ts"
import * as Slot from "./slot.ts"
import type { State } from "./state.ts"

/** `max` and `maxWaiting` together bound those who hold or wait. @internal */
export const isFull = <A>(state: State<A>): boolean =>
  state.counts[Slot.Leased] + state.waiters.size >= state.max + state.config.maxWaiting

/** @internal */
export const refuse = <A>(state: State<A>, now: number): Rejection => {
  const { acquireTimeout, name } = state.config
  const oldestWait = state.oldestWait(now)
  if (state.saturation === undefined) {
    state.saturation = { since: now, rejected: 0 }
    state.tell(PoolEvent.Saturated({ pool: name, waiting: state.waiters.size, oldestWait }))
  }
  state.saturation.rejected++
  // Who waits now has probably been served after as long again as the oldest of them has been waiting.
  return { _tag: "Saturated", oldestWait, retryAfter: Math.min(Math.max(oldestWait, 10), acquireTimeout) }
}

/** To be called whenever there may be fewer who hold or wait. @internal */
export const relieve = <A>(state: State<A>, now: number): void => {
  const { saturation, waiters } = state
  if (saturation === undefined || waiters.size > 0 || isFull(state)) return
  state.saturation = undefined
  const { rejected, since } = saturation
  state.tell(PoolEvent.Relieved({ pool: state.config.name, rejected, lasted: now - since }))
}
