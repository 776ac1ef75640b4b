/**
 * What has to hold after each step, read off the state and held against the world's own books.
 */
import * as Slot from "../../src/internal/state/slot.ts"
import type { State } from "../../src/internal/state/state.ts"
import { law, type Resource, type World } from "./world.ts"

export const check = (world: World): void => {
  accounting(world)
  bounds(world)
  order(world)
  progress(world)
  time(world)
  end(world)
}

/** Laws 1 and 23: each slot is somewhere exactly once, and the numbers are those of the books. */
const accounting = (world: World): void => {
  const { state } = world
  law(state.slots.size === world.entries.size, `total is ${state.slots.size}, the books say ${world.entries.size}`)
  for (const slot of state.slots) law(world.entries.has(slot), "a slot that the books don't know")
  const expected: Array<readonly [string, number, number]> = [
    ["connecting", state.counts[Slot.Connecting], world.count("connecting")],
    ["idle", state.counts[Slot.Idle], world.count("idle")],
    ["checking", state.counts[Slot.Checking], world.count("checking")],
    ["leased", state.counts[Slot.Leased], world.count("leased", "granted")],
    ["resetting", state.counts[Slot.Resetting], world.count("resetting")],
    ["closing", state.counts[Slot.Closing], world.count("closing")],
    ["waiting", state.waiters.size, world.queue.length],
    ["open", state.open, world.open],
    ["failures", state.trouble?.failures ?? 0, world.failing?.failures ?? 0]
  ]
  for (const [name, is, should] of expected) law(is === should, `${name} is ${is}, the books say ${should}`)
  for (const name of Object.keys(world.totals) as Array<keyof typeof world.totals>) {
    law(state.totals[name] === world.totals[name], `${name} is ${state.totals[name]}, not ${world.totals[name]}`)
  }
  law(state.idle.length === state.counts[Slot.Idle], "the stack of idle slots isn't the idle slots")
  law(
    state.idle.every((slot, i) => slot.status === Slot.Idle && (i === 0 || state.idle[i - 1]!.since <= slot.since)),
    "the stack of idle slots is out of order"
  )
  const full = state.counts[Slot.Leased] + world.queue.length >= world.max + world.config.maxWaiting
  law(!world.saturated || world.queue.length > 0 || full, "there is room and nobody waits, and nobody was told")
  law((state.trouble?.down === true) === world.unavailable, "unavailable, and nobody was told, or the other way round")
}

/** Law 8: never over the maximum; above one that was lowered, no more than there were. */
const bounds = (world: World): void => {
  law(
    world.entries.size <= Math.max(world.max, world.total),
    `${world.entries.size} slots, the maximum is ${world.max}`
  )
}

/** Law 5: the queue is in order of arrival. */
const order = (world: World): void => {
  let waiter = world.state.waiters.head
  for (const caller of world.queue) {
    law(waiter === caller.waiter, "the queue is not in order of arrival")
    waiter = waiter?.next
  }
  law(waiter === undefined, "the queue has more than those who wait")
}

/** Laws 4, 7, 9 and 14: whoever waits, waits for something; what can be done has been begun. */
const progress = (world: World): void => {
  const { config, failing } = world
  if (world.draining) return
  if (world.queue.length > 0) {
    const fresh = world.places("idle").some((entry) => !world.isStale(entry) && world.now < entry.slot.expiresAt)
    law(!fresh, "somebody waits while a fresh slot is idle")
  }
  const wanted = isWanted(world)
  if (!wanted && !isBelowMinimum(world)) return
  law(!wanted || world.count("idle") === 0, "somebody waits for more than is on its way while a slot is idle")
  const pause =
    failing !== undefined && (world.now < world.state.trouble!.nextAttempt || world.state.wakeAt <= world.now)
  const limit = failing === undefined ? config.maxConnecting : 1
  law(
    world.entries.size >= world.max || pause || world.count("connecting") >= limit,
    wanted ? "somebody waits, there is room, and nothing is opened" : "fewer than the minimum, and nothing is opened"
  )
}

/** Whether more wait than is on its way. */
const isWanted = (world: World): boolean => {
  const checks = world.checksFail ? 0 : world.count("checking")
  return world.queue.length > world.count("connecting", "resetting") + checks
}

const isBelowMinimum = (world: World): boolean => world.warm && world.live < world.min

/** The timer is set for the next thing that is due, and when it fires nothing stays overdue. */
const time = (world: World): void => {
  const { state } = world
  const due = deadlines(world)
  for (const [what, at] of due) {
    law(state.wakeAt <= at, `the timer is set for ${state.wakeAt}, after ${what} at ${at}`)
    if (world.ticked) law(at > world.now, `overdue after the timer has fired: ${what} at ${at}`)
  }
}

const deadlines = (world: World): Array<readonly [what: string, at: number]> => {
  const { config, failing, state } = world
  const due: Array<readonly [string, number]> = []
  for (const caller of world.queue) due.push(["the deadline of a waiter", caller.since + config.acquireTimeout])
  for (const entry of world.entries.values()) {
    const { place, since, slot } = entry
    if (place === "connecting") due.push(["the connect timeout", since + config.connectTimeout])
    if (place === "checking") due.push(["the check timeout", since + config.checkTimeout])
    if (place === "resetting") due.push(["the reset timeout", since + config.resetTimeout])
    if (place === "closing") due.push(["the close timeout", since + config.closeTimeout])
    if (place === "idle") {
      due.push(["the end of a lifetime", slot.expiresAt])
      if (world.live > world.min) due.push(["the idle timeout", since + config.idleTimeout])
    }
    if (place === "leased" || place === "granted") {
      if (world.draining) due.push(["the end of the grace", world.graceEnds])
      if (!entry.warned) due.push(["a leak warning", since + config.leakAfter])
    }
  }
  if (world.draining || failing === undefined) return due
  const { nextAttempt } = state.trouble!
  const wanted = isWanted(world) || isBelowMinimum(world)
  if (!wanted || world.count("connecting") > 0) return due
  if (world.entries.size < world.max) due.push(["the next attempt", nextAttempt])
  if (world.open === 0 && failing.kind === "failed" && world.now < nextAttempt && !world.unavailable) {
    due.push(["the end of patience with failures", failing.since + config.unavailableAfter])
  }
  return due
}

/** Law 22: a pool that closes keeps nobody waiting, and is closed once nothing is left. */
const end = (world: World): void => {
  if (!world.draining) return
  law(world.queue.length === 0, "somebody waits at a pool that closes")
  law(world.drained === (world.entries.size === 0 ? 1 : 0), "closed too soon, too late or twice")
}

/** Everything that may differ between two states that are equal. */
export const picture = (state: State<Resource>): string =>
  JSON.stringify([
    state.counts,
    state.totals,
    state.slots.size,
    state.idle.map((slot) => slot.id),
    state.waiters.size,
    String(state.wakeAt),
    state.min,
    state.max,
    state.phase,
    state.generation,
    state.checksFail,
    state.trouble?.failures,
    [...state.slots].map((slot) => [slot.id, slot.status, slot.lease, slot.uses, slot.doomed])
  ])
