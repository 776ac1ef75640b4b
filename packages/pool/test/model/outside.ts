/**
 * What the other side does: opens, refuses, passes or fails checks and resets, closes, and is late with any of it.
 *
 * Each operation answers whether it meant something in the present world.
 */
import type { ConnectFailure } from "../../src/internal/state/outage.ts"
import * as Transition from "../../src/internal/state/transitions.ts"
import * as Recycler from "../../src/Recycler.ts"
import { unchanged } from "./callers.ts"
import { choose, law, type Resource, type World } from "./world.ts"

export const opens = (world: World, n: number): boolean => {
  const entry = choose(world.places("connecting"), n)
  if (entry === undefined) return false
  const resource = { id: ++world.resources, openedAt: world.now, lent: 0, provenAt: world.now, invalidated: false }
  entry.resource = resource
  world.inHand(entry)
  world.failing = undefined
  world.totals.opened++
  law(Transition.opened(world.state, world.now, entry.slot, resource), "an opened resource was refused")
  return true
}

export const refuses = (world: World, n: number, kind: ConnectFailure["kind"]): boolean => {
  const entry = choose(world.places("connecting"), n)
  if (entry === undefined) return false
  world.entries.delete(entry.slot)
  world.failed(kind, entry.since)
  Transition.openFailed(world.state, world.now, entry.slot, { kind, error: kind })
  return true
}

export const checks = (world: World, n: number, ok: boolean): boolean => {
  const entry = choose(world.places("checking"), n)
  if (entry === undefined) return false
  world.inHand(entry, ok)
  world.checksFail = !ok
  if (!ok) world.verdict = "checkFailed"
  Transition.checked(world.state, world.now, entry.slot, ok ? { ok } : { ok, error: "check" })
  return true
}

export const resets = (world: World, n: number, outcome: Parameters<typeof Transition.reset>[3]): boolean => {
  const entry = choose(world.places("resetting"), n)
  if (entry === undefined) return false
  world.inHand(entry)
  if (outcome._tag !== "Keep") world.verdict = outcome._tag === "Close" ? "recycled" : "resetFailed"
  Transition.reset(world.state, world.now, entry.slot, outcome)
  return true
}

/** A connect that was given up may have succeeded in the last moment. */
export const closes = (world: World, n: number): boolean => {
  const entry = choose(world.places("closing"), n)
  if (entry === undefined) return false
  const { abandoned, slot } = entry
  world.finishing = slot
  if (!abandoned) {
    Transition.closed(world.state, world.now, slot)
    return true
  }
  if (n % 2 === 0) law(!opensLate(world, slot), "an abandoned connect was taken in")
  Transition.openFailed(world.state, world.now, slot, { kind: "failed", error: "late" })
  return true
}

/** Something that the pool has given up on ends after all. */
export const late = (world: World, n: number, ok: boolean): boolean => {
  const ghost = choose(world.ghosts, n)
  if (ghost === undefined) return false
  const { now, state } = world
  const { slot, was } = ghost
  world.ghosts.splice(world.ghosts.indexOf(ghost), 1)
  unchanged(world, () => {
    switch (was) {
      case "connecting":
        if (ok) law(!opensLate(world, slot), "a ghost was taken in")
        Transition.openFailed(state, now, slot, { kind: "failed", error: "late" })
        break
      case "checking":
        Transition.checked(state, now, slot, { ok })
        break
      case "resetting":
        Transition.reset(state, now, slot, ok ? Recycler.keep : { _tag: "Failed", error: "late" })
        break
      case "closing":
        Transition.closed(state, now, slot)
        break
    }
  })
  return true
}

const opensLate = (world: World, slot: Parameters<typeof Transition.opened<Resource>>[2]): boolean =>
  Transition.opened(world.state, world.now, slot, {
    id: -1,
    openedAt: world.now,
    lent: 0,
    provenAt: world.now,
    invalidated: false
  })
