/**
 * What time brings with it: deadlines of callers, limits of work in flight, the idle timeout, lifetimes, leak warnings.
 */
import { PoolEvent } from "../../PoolEvent.ts"
import * as Outage from "./outage.ts"
import { relieve } from "./saturation.ts"
import * as Slot from "./slot.ts"
import type { State } from "./state.ts"
import * as Supply from "./supply.ts"

/** Does all that is due, and sets `wakeAt` to when the next thing is. @internal */
export const tick = <A>(state: State<A>, now: number): void => {
  state.wakeAt = Number.POSITIVE_INFINITY
  timeOutWaiters(state, now)
  // A slot that is opened meanwhile is met at the end of the round, and has nothing due.
  for (const slot of state.slots) tickSlot(state, now, slot)
  closeIdle(state, now)
  Supply.provide(state, now)
  relieve(state, now)
}

const timeOutWaiters = <A>(state: State<A>, now: number): void => {
  const { config, totals, waiters } = state
  for (let waiter = waiters.head; waiter !== undefined && waiter.deadline <= now; waiter = waiters.head) {
    const waited = now - waiter.since
    totals.timedOut++
    state.turnAway(waiter, { _tag: "Timeout", waited })
    state.tell(PoolEvent.AcquireTimedOut({ pool: config.name, waited, waiting: waiters.size }))
  }
  if (waiters.head !== undefined) state.remind(waiters.head.deadline)
}

const tickSlot = <A>(state: State<A>, now: number, slot: Slot.Slot<A>): void => {
  if (slot.status === Slot.Leased) tickLeased(state, now, slot)
  else if (slot.status === Slot.Idle && slot.expiresAt <= now) Supply.close(state, now, slot, "lifetime")
  else if (slot.status === Slot.Idle) state.remind(slot.expiresAt)
  else if (slot.deadline > now) state.remind(slot.deadline)
  else giveUp(state, now, slot)
}

const tickLeased = <A>(state: State<A>, now: number, slot: Slot.Slot<A>): void => {
  if (state.graceEnds <= now) {
    state.totals.forced++
    Supply.close(state, now, slot, "forced")
    return
  }
  state.remind(state.graceEnds)
  const { leakAfter } = state.config
  if (slot.warned || leakAfter === Number.POSITIVE_INFINITY) return
  const warnAt = slot.since + leakAfter
  if (warnAt > now) {
    state.remind(warnAt)
  } else {
    slot.warned = true
    state.totals.leaksSuspected++
    state.commands.push({ _tag: "Leak", slot, held: now - slot.since })
  }
}

/** What the slot does now has taken too long. */
const giveUp = <A>(state: State<A>, now: number, slot: Slot.Slot<A>): void => {
  switch (slot.status) {
    case Slot.Connecting: {
      const { since } = slot
      Supply.abandon(state, now, slot, "abandoned")
      Outage.failed(state, now, since, { kind: "failed", error: state.config.connectTimedOut(now - since) })
      Supply.provide(state, now)
      break
    }
    case Slot.Checking:
      state.checksFail = true
      Supply.close(state, now, slot, "checkTimedOut")
      break
    case Slot.Resetting:
      Supply.close(state, now, slot, "resetTimedOut")
      break
    case Slot.Closing:
      // Closing hangs. Its slot is given back all the same: capacity must not be lost for ever.
      Supply.bury(state, now, slot, true)
      break
  }
}

/** The coldest first, as long as there are more than the minimum. */
const closeIdle = <A>(state: State<A>, now: number): void => {
  const { config, idle } = state
  for (let coldest = idle[0]; coldest !== undefined && state.live > state.min; coldest = idle[0]) {
    if (coldest.since + config.idleTimeout > now) break
    Supply.close(state, now, coldest, "idle")
  }
  state.remindIdle()
}
