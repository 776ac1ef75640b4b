/**
 * What the state asks for, held against the books: is it due, is it allowed, is it the right one?
 */
import type { Command } from "../../src/internal/state/command.ts"
import type { Slot } from "../../src/internal/state/slot.ts"
import type { Waiter } from "../../src/internal/state/waiters.ts"
import * as Waiters from "../../src/internal/state/waiters.ts"
import type { CloseReason } from "../../src/PoolEvent.ts"
import { hear } from "./events.ts"
import { type Caller, type Entry, law, type Resource, type World } from "./world.ts"

export const obey = (world: World, command: Command<Resource>): void => {
  world.note(command)
  switch (command._tag) {
    case "Connect":
      connect(world, command.slot)
      break
    case "Abandon":
      abandon(world, world.entries.get(command.slot)!)
      break
    case "Check": {
      const entry = world.entries.get(command.slot)!
      law(entry.place === "idle" && world.isStale(entry), "a check of what is not idle or not stale")
      world.put(entry, "checking")
      break
    }
    case "Close":
      close(world, command.slot)
      break
    case "Wake":
      wake(world, command.waiter)
      break
    case "Leak": {
      const entry = world.entries.get(command.slot)!
      law(entry.place === "leased" || entry.place === "granted", "a leak warning without a lease")
      law(!entry.warned && command.held >= world.config.leakAfter, "a leak warning too soon or twice")
      entry.warned = true
      world.totals.leaksSuspected++
      break
    }
    case "Event":
      hear(world, command.event)
      break
    case "Drained":
      law(world.entries.size === 0, "drained with something left")
      world.drained++
      break
  }
}

const connect = (world: World, slot: Slot<Resource>): void => {
  law(!world.draining, "a connect while the pool closes")
  world.entries.set(slot, {
    slot,
    place: "connecting",
    since: world.now,
    expired: false,
    abandoned: false,
    resource: undefined,
    lease: 0,
    holder: undefined,
    warned: false
  })
  const connecting = world.count("connecting")
  law(connecting <= world.config.maxConnecting, "more connects at once than allowed")
  if (world.failing === undefined) return
  law(connecting <= 1, "more than one connect at once while opening fails")
  law(world.now >= world.failing.next, "an attempt before the backoff was over")
}

const abandon = (world: World, entry: Entry): void => {
  law(entry.place === "connecting", `${entry.place} was abandoned as if it were connecting`)
  const late = world.now >= entry.since + world.config.connectTimeout
  law(world.draining || late, "a connect was abandoned before its time")
  if (!world.draining) world.failed("failed", entry.since)
  entry.abandoned = true
  world.put(entry, "closing")
}

const close = (world: World, slot: Slot<Resource>): void => {
  const entry = world.entries.get(slot)
  if (entry === undefined || entry.place === "connecting" || entry.place === "closing") {
    law(false, "closed what isn't open")
    return
  }
  const { doomed } = slot
  law(mayClose(world, entry, doomed), `closed for a reason that doesn't hold: ${doomed}, was ${entry.place}`)
  if (doomed === "forced") world.totals.forced++
  if (doomed === "checkTimedOut") world.checksFail = true
  if (entry.place === "checking" || entry.place === "resetting") world.ghosts.push({ slot, was: entry.place })
  if (isLent(entry)) world.over.push({ slot, lease: entry.lease })
  world.put(entry, "closing")
}

const isLent = (entry: Entry): boolean => entry.place === "leased" || entry.place === "granted"

const mayClose = (world: World, entry: Entry, reason: CloseReason | undefined): boolean => {
  const { config, now } = world
  const waited = now - entry.since
  switch (reason) {
    case "idle":
      return entry.place === "idle" && waited >= config.idleTimeout && world.live > world.min
    case "lifetime":
      return now >= entry.resource!.openedAt + config.lifetime * (1 - config.lifetimeJitter)
    case "maxUses":
      return entry.resource!.lent >= config.maxUses
    case "expired":
      return entry.expired
    case "invalidated":
      return entry.resource!.invalidated
    case "recycled":
    case "checkFailed":
    case "resetFailed":
    case "hookFailed":
      return world.verdict === reason
    case "checkTimedOut":
      return entry.place === "checking" && waited >= config.checkTimeout
    case "resetTimedOut":
      return entry.place === "resetting" && waited >= config.resetTimeout
    case "resized":
      return world.live > world.max
    case "drained":
      return world.draining
    case "forced":
      return isLent(entry) && now >= world.graceEnds
    default:
      return false
  }
}

const wake = (world: World, waiter: Waiter<Resource>): void => {
  const caller = world.queue.shift()
  if (caller === undefined || caller.waiter !== waiter) {
    law(false, "another than the oldest waiter was woken")
    return
  }
  law(++caller.answers === 1, "a waiter was answered twice")
  if (waiter.status === Waiters.Granted) {
    const entry = world.entries.get(waiter.slot!)!
    law(entry.place === "moving", `a waiter was given a slot that is ${entry.place}`)
    world.lend(entry, caller.holder, "granted")
    world.granted.push(caller)
  } else {
    law(waiter.status === Waiters.Rejected && waiter.slot === undefined, "a waiter was woken for nothing")
    rejected(world, caller)
  }
}

const rejected = (world: World, { since, waiter }: Caller): void => {
  const tag = waiter.rejection?._tag
  world.met.add(`waited for: ${tag}`)
  switch (tag) {
    case "Timeout":
      world.totals.timedOut++
      law(world.now >= since + world.config.acquireTimeout, "a waiter timed out before its deadline")
      break
    case "Unavailable":
      world.totals.rejected++
      law(world.open === 0 && world.count("connecting") === 0, "turned away although something is on its way")
      break
    case "Closed":
      law(world.draining, "PoolClosed from an open pool")
      break
    default:
      law(false, `a waiter was turned away with ${tag}`)
  }
}
