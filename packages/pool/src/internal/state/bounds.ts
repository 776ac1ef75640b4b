/**
 * What changes the pool as a whole: a new generation, other limits, the end.
 */
import { PoolEvent } from "../../PoolEvent.ts"
import { relieve } from "./saturation.ts"
import * as Slot from "./slot.ts"
import type { State } from "./state.ts"
import * as Supply from "./supply.ts"

/** Opens the minimum, and at least `least`. @internal */
export const warmUp = <A>(state: State<A>, now: number, least: number): void =>
  Supply.provide(state, now, Math.max(least, state.min))

/** Ends the current generation: no resource that is open now is lent again. @internal */
export const expire = <A>(state: State<A>, now: number): void => {
  state.generation++
  for (const slot of [...state.idle]) Supply.doom(state, now, slot, "expired")
}

/** @internal */
export const resize = <A>(state: State<A>, now: number, min: number, max: number): void => {
  state.min = min
  state.max = max
  state.tell(PoolEvent.Resized({ pool: state.config.name, min, max }))
  for (let coldest = state.idle[0]; coldest !== undefined && state.live > max; coldest = state.idle[0]) {
    Supply.close(state, now, coldest, "resized")
  }
  state.remindIdle()
  Supply.provide(state, now)
  relieve(state, now)
}

/** Admits nobody any more, gives leases until `now + grace`, then takes them away. @internal */
export const drain = <A>(state: State<A>, now: number, grace: number): void => {
  if (state.phase === "closed") return
  state.graceEnds = Math.min(state.graceEnds, now + grace)
  state.remind(state.graceEnds)
  if (state.phase === "draining") return
  state.phase = "draining"
  state.closesSince = now
  state.tell(PoolEvent.Draining({ pool: state.config.name, leased: state.counts[Slot.Leased], grace }))
  for (let waiter = state.waiters.head; waiter !== undefined; waiter = state.waiters.head) {
    state.turnAway(waiter, { _tag: "Closed" })
  }
  relieve(state, now)
  for (const slot of state.slots) {
    if (slot.status === Slot.Connecting) Supply.abandon(state, now, slot, "drained")
    else Supply.doom(state, now, slot, "drained")
  }
  Supply.endDrain(state)
}
