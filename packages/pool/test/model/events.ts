/**
 * What the state tells, held against the books.
 */
import type { PoolEvent } from "../../src/PoolEvent.ts"
import { law, type World } from "./world.ts"

export const hear = (world: World, event: PoolEvent): void => {
  world.met.add(event._tag === "Closed" ? `Closed: ${event.reason}, timed out: ${event.timedOut}` : event._tag)
  switch (event._tag) {
    case "Closed":
      closed(world, event)
      break
    case "Saturated":
      law(!world.saturated, "Saturated twice")
      world.saturated = true
      break
    case "Relieved":
      law(world.saturated && world.queue.length === 0, "Relieved without need or with waiters")
      world.saturated = false
      break
    case "Unavailable":
      law(!world.unavailable && world.open === 0, "Unavailable twice, or with something open")
      law(world.count("connecting") === 0, "Unavailable with something being opened")
      law(world.failing?.kind !== "capacity", "Unavailable, although the other side is only full")
      law(
        world.failing?.kind === "fatal" || world.now - world.failing!.since >= world.config.unavailableAfter,
        "Unavailable before its time"
      )
      world.unavailable = true
      break
    case "Available":
      law(world.unavailable, "Available without having been unavailable")
      world.unavailable = false
      break
  }
}

/** Law 8: a slot is given back after its resource has closed, and not before. */
const closed = (world: World, { id, timedOut }: Extract<PoolEvent, { readonly _tag: "Closed" }>): void => {
  const entry = [...world.entries.values()].find((entry) => entry.slot.id === id)!
  const { abandoned, place, since, slot } = entry
  law(place === "closing", "a slot was given back that wasn't closing")
  const late = world.now >= since + world.config.closeTimeout
  law(timedOut ? late : world.finishing === slot, "a slot was given back before its resource closed")
  if (timedOut) world.ghosts.push({ slot, was: abandoned ? "connecting" : "closing" })
  world.entries.delete(slot)
  world.totals.closed++
}
