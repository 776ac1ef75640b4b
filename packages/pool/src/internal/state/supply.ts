/**
 * What is opened, checked and closed: driven by demand, bounded by `max`, one careful attempt at a time while opening
 * fails.
 *
 * A waiter waits for a resource, not for its resource: what matters is only that as much is on its way as callers wait.
 */
import type { CloseReason } from "../../PoolEvent.ts"
import { PoolEvent } from "../../PoolEvent.ts"
import * as Outage from "./outage.ts"
import * as Slot from "./slot.ts"
import type { State } from "./state.ts"

/**
 * Begins what is needed: for each waiter that no slot on its way will serve, and up to `least`. Idle slots that were
 * silent for long are checked before anything is opened. To be called after whatever may leave somebody waiting. @internal
 */
export const provide = <A>(state: State<A>, now: number, least = state.warm ? state.min : 0): void => {
  if (state.phase !== "open") return
  while (state.waiters.size > onItsWay(state)) {
    const slot = state.idle[state.idle.length - 1]
    if (slot === undefined) break
    if (slot.expiresAt <= now) close(state, now, slot, "lifetime")
    else check(state, now, slot)
  }
  while (state.waiters.size > onItsWay(state) || state.live < least) {
    if (Outage.isPausing(state, now)) {
      Outage.judge(state, now, state.trouble!)
      return
    }
    if (state.slots.size >= state.max) return
    const atOnce = state.trouble === undefined ? state.config.maxConnecting : 1
    if (state.counts[Slot.Connecting] >= atOnce) return
    connect(state, now)
  }
}

/** Slots that will come to a waiter without anything being begun. */
const onItsWay = <A>({ checksFail, counts }: State<A>): number =>
  counts[Slot.Connecting] + counts[Slot.Resetting] + (checksFail ? 0 : counts[Slot.Checking])

const check = <A>(state: State<A>, now: number, slot: Slot.Slot<A>): void => {
  state.unstack(slot)
  state.move(now, slot, Slot.Checking)
  state.limit(slot, now + state.config.checkTimeout)
  state.commands.push({ _tag: "Check", slot })
}

const connect = <A>(state: State<A>, now: number): void => {
  const slot = state.add(now)
  state.remindIdle()
  state.limit(slot, now + state.config.connectTimeout)
  state.commands.push({ _tag: "Connect", slot })
}

/** @internal */
export const close = <A>(
  state: State<A>,
  now: number,
  slot: Slot.Slot<A>,
  reason: CloseReason,
  detail?: unknown
): void => {
  if (slot.status === Slot.Idle) state.unstack(slot)
  // What it was doomed with says more than what its check or reset says afterwards.
  slot.detail = slot.doomed === reason ? (slot.detail ?? detail) : detail
  beginClosing(state, now, slot, reason)
  state.commands.push({ _tag: "Close", slot })
  provide(state, now)
}

/** Gives up on a connect. Its slot stays taken until it has really ended, or the server could see one too many. @internal */
export const abandon = <A>(state: State<A>, now: number, slot: Slot.Slot<A>, reason: CloseReason): void => {
  beginClosing(state, now, slot, reason)
  state.commands.push({ _tag: "Abandon", slot })
}

const beginClosing = <A>(state: State<A>, now: number, slot: Slot.Slot<A>, reason: CloseReason): void => {
  slot.doomed = reason
  slot.holder = undefined
  state.move(now, slot, Slot.Closing)
  state.limit(slot, now + state.config.closeTimeout)
}

/** Not to be lent again: closed at once, or when its lease ends. What a check or a reset would say of it matters no more. @internal */
export const doom = <A>(
  state: State<A>,
  now: number,
  slot: Slot.Slot<A>,
  reason: CloseReason,
  detail?: unknown
): void => {
  if (slot.status === Slot.Leased) {
    if (slot.doomed !== undefined) return
    slot.doomed = reason
    slot.detail = detail
  } else if (slot.status !== Slot.Closing) close(state, now, slot, reason, detail)
}

/** The slot is given back: its resource has been closed, or closing it took too long. @internal */
export const bury = <A>(state: State<A>, now: number, slot: Slot.Slot<A>, timedOut: boolean): void => {
  state.free(slot)
  state.totals.closed++
  const { detail, doomed, id, openedAt, uses } = slot
  const reason = doomed ?? "drained"
  state.tell(PoolEvent.Closed({ pool: state.config.name, id, reason, detail, age: now - openedAt, uses, timedOut }))
  provide(state, now)
  endDrain(state)
}

/** To be called whenever nothing may be left. @internal */
export const endDrain = <A>(state: State<A>): void => {
  if (state.phase !== "draining" || state.slots.size > 0) return
  state.phase = "closed"
  state.tell(PoolEvent.Drained({ pool: state.config.name, forced: state.totals.forced }))
  state.commands.push({ _tag: "Drained" })
}
