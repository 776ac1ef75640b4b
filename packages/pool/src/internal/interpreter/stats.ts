/**
 * The state, read off for people and metrics.
 */
import type { PoolStats } from "../../PoolStats.ts"
import * as Slot from "../state/slot.ts"
import type { State } from "../state/state.ts"

/** @internal */
export const read = <A>(state: State<A>, now: number): PoolStats => {
  const { config, counts, max, min, slots, totals, trouble, waiters } = state
  return {
    name: config.name,
    min,
    max,
    total: slots.size,
    idle: counts[Slot.Idle],
    leased: counts[Slot.Leased],
    connecting: counts[Slot.Connecting],
    checking: counts[Slot.Checking],
    resetting: counts[Slot.Resetting],
    closing: counts[Slot.Closing],
    waiting: waiters.size,
    oldestWait: state.oldestWait(now),
    acquired: totals.acquired,
    reused: totals.reused,
    reuseRate: totals.acquired === 0 ? 0 : totals.reused / totals.acquired,
    queued: totals.queued,
    timedOut: totals.timedOut,
    rejected: totals.rejected,
    opened: totals.opened,
    closed: totals.closed,
    connectFailures: totals.connectFailures,
    leaksSuspected: totals.leaksSuspected,
    atCapacity: trouble?.kind === "capacity",
    unavailable: trouble?.down === true
  }
}
