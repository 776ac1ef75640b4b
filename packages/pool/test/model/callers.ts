/**
 * What callers do: ask, go on with what they were given, give back (also twice), or leave.
 *
 * Each operation answers whether it meant something in the present world.
 */
import type { Rejection } from "../../src/internal/state/rejection.ts"
import * as Transition from "../../src/internal/state/transitions.ts"
import * as Recycler from "../../src/Recycler.ts"
import { picture } from "./laws.ts"
import { choose, law, type World } from "./world.ts"

export const acquire = (world: World, holder: number): boolean => {
  const { entries, max, state } = world
  const holdsAll = entries.size >= max && [...entries.values()].every((entry) => entry.holder === holder)
  const slot = Transition.take(state, world.now, holder)
  if (slot !== undefined) {
    law(world.queue.length === 0, "a newcomer overtook a waiter")
    const entry = entries.get(slot)!
    law(entry.place === "idle", `a slot was lent that is ${entry.place}`)
    world.lend(entry, holder, "leased")
    return true
  }
  const full = world.count("leased", "granted") + world.queue.length >= max + world.config.maxWaiting
  const waiter = Transition.enqueue(state, world.now, holder)
  if ("_tag" in waiter) {
    world.totals.rejected++
    refused(world, waiter, full, holdsAll)
    return true
  }
  law(!world.draining, "a caller was admitted to a pool that closes")
  law(!full, "a caller was admitted beyond the bound")
  law(!holdsAll, "a fiber that holds all was left to wait for itself")
  world.totals.queued++
  world.warm = true
  world.queue.push({ holder, since: world.now, waiter, answers: 0 })
  return true
}

const refused = (world: World, rejection: Rejection, full: boolean, holdsAll: boolean): void => {
  world.met.add(`refused: ${rejection._tag}`)
  switch (rejection._tag) {
    case "Closed":
      law(world.draining, "PoolClosed from an open pool")
      break
    case "Nested":
      law(holdsAll, "NestedAcquire for a fiber that doesn't hold all")
      break
    case "Saturated":
      law(full, "PoolSaturated with room to wait")
      break
    case "Unavailable":
      law(world.unavailable && world.open === 0, "PoolUnavailable from a pool that has something open")
      break
    case "Timeout":
      law(false, "a timeout without a wait")
  }
}

/** The fiber of a granted waiter goes on. */
export const resume = (world: World, n: number): boolean => {
  const caller = choose(world.granted, n)
  if (caller === undefined) return false
  world.granted.splice(world.granted.indexOf(caller), 1)
  const entry = world.entries.get(caller.waiter.slot!)
  if (entry?.place === "granted") entry.place = "leased"
  return true
}

/** An interrupt meets a caller that waits. */
export const cancelWaiting = (world: World, n: number): boolean => {
  const caller = choose(world.queue, n)
  if (caller === undefined) return false
  world.queue.splice(world.queue.indexOf(caller), 1)
  Transition.cancel(world.state, world.now, caller.waiter)
  return true
}

/** An interrupt meets a caller that was given a slot and has not gone on yet. */
export const cancelGranted = (world: World, n: number): boolean => {
  const caller = choose(world.granted, n)
  if (caller === undefined) return false
  world.granted.splice(world.granted.indexOf(caller), 1)
  const entry = world.entries.get(caller.waiter.slot!)
  if (entry?.place === "granted") {
    world.inHand(entry)
    world.totals.acquired--
    if (entry.resource!.lent > 1) world.totals.reused--
    entry.resource!.lent--
  }
  Transition.cancel(world.state, world.now, caller.waiter)
  return true
}

export const release = (world: World, n: number, verdict: Recycler.Verdict | undefined): boolean => {
  const entry = choose(world.places("leased"), n)
  if (entry === undefined) return false
  const { lease, slot } = entry
  world.inHand(entry)
  if (verdict?._tag === "Close") world.verdict = "recycled"
  law(Transition.release(world.state, world.now, slot, lease, verdict), "a release was ignored")
  world.over.push({ slot, lease })
  const closes = world.state.commands.some((command) => command._tag === "Close" && command.slot === slot)
  if (verdict === undefined && !closes) world.put(entry, "resetting")
  return true
}

export const hookFails = (world: World, n: number): boolean => {
  const entry = choose(world.places("leased"), n)
  if (entry === undefined) return false
  const { lease, slot } = entry
  world.inHand(entry)
  world.verdict = "hookFailed"
  world.over.push({ slot, lease })
  Transition.discard(world.state, world.now, slot, lease, "hookFailed", "hook")
  return true
}

export const releaseAgain = (world: World, n: number): boolean => {
  const over = choose(world.over, n)
  if (over === undefined) return false
  const { lease, slot } = over
  unchanged(world, () => {
    law(!Transition.release(world.state, world.now, slot, lease, Recycler.keep), "released twice")
    Transition.discard(world.state, world.now, slot, lease, "hookFailed", "late")
  })
  return true
}

export const invalidate = (world: World, n: number): boolean => {
  const open = [...world.entries.values()].filter((entry) => entry.resource !== undefined && entry.place !== "closing")
  const entry = choose(open, n)
  if (entry === undefined) return false
  entry.resource!.invalidated = true
  Transition.invalidate(world.state, world.now, entry.slot)
  return true
}

/** What must change nothing at all. */
export const unchanged = (world: World, f: () => void): void => {
  const before = picture(world.state)
  f()
  law(world.state.commands.length === 0, "something late or repeated had consequences")
  law(picture(world.state) === before, "something late or repeated changed the state")
}
