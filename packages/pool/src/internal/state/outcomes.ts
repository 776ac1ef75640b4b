/**
 * What has come of the work that the state asked for. Whatever reports late, after the state has given up on it, changes
 * nothing.
 */
import { PoolEvent } from "../../PoolEvent.ts"
import type { Verdict } from "../../Recycler.ts"
import * as Lending from "./lending.ts"
import type { ConnectFailure } from "./outage.ts"
import * as Outage from "./outage.ts"
import * as Slot from "./slot.ts"
import type { State } from "./state.ts"
import * as Supply from "./supply.ts"

/** A resource is open. False when nobody wants it any more: it has to be closed, and `openFailed` reported. @internal */
export const opened = <A>(state: State<A>, now: number, slot: Slot.Slot<A>, resource: A): boolean => {
  if (slot.status !== Slot.Connecting) return false
  const { lifetime, lifetimeJitter, name, random } = state.config
  const took = now - slot.since
  slot.resource = resource
  slot.openedAt = now
  slot.expiresAt = now + lifetime * (1 - lifetimeJitter * random())
  state.totals.opened++
  state.tell(PoolEvent.Opened({ pool: name, id: slot.id, took, total: state.slots.size }))
  Outage.over(state, now)
  Lending.place(state, now, slot)
  Supply.provide(state, now)
  return true
}

/** Opening failed; nothing is left of the resource. @internal */
export const openFailed = <A>(state: State<A>, now: number, slot: Slot.Slot<A>, failure: ConnectFailure): void => {
  if (slot.status === Slot.Closing) {
    closed(state, now, slot)
  } else if (slot.status === Slot.Connecting) {
    state.free(slot)
    Outage.failed(state, now, slot.since, failure)
    Supply.provide(state, now)
  }
}

/** A check has ended. @internal */
export const checked = <A>(
  state: State<A>,
  now: number,
  slot: Slot.Slot<A>,
  outcome: { readonly ok: boolean; readonly error?: unknown }
): void => {
  if (slot.status !== Slot.Checking) return
  state.checksFail = !outcome.ok
  if (outcome.ok) Lending.place(state, now, slot)
  else Supply.close(state, now, slot, "checkFailed", outcome.error)
}

/** A reset has ended. @internal */
export const reset = <A>(
  state: State<A>,
  now: number,
  slot: Slot.Slot<A>,
  outcome: Verdict | { readonly _tag: "Failed"; readonly error: unknown }
): void => {
  if (slot.status !== Slot.Resetting) return
  if (outcome._tag === "Keep") Lending.place(state, now, slot)
  else if (outcome._tag === "Close") Supply.close(state, now, slot, "recycled", outcome.detail)
  else Supply.close(state, now, slot, "resetFailed", outcome.error)
}

/** A resource has been closed, successfully or not. @internal */
export const closed = <A>(state: State<A>, now: number, slot: Slot.Slot<A>): void => {
  if (slot.status === Slot.Closing) Supply.bury(state, now, slot, false)
}
