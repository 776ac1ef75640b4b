/**
 * What the model test found, each as the least that showed it, and why it mattered.
 */
import { describe, expect, it } from "vitest"
import type { Config } from "../src/internal/state/config.ts"
import * as Slot from "../src/internal/state/slot.ts"
import { State } from "../src/internal/state/state.ts"
import * as Transition from "../src/internal/state/transitions.ts"
import * as Waiters from "../src/internal/state/waiters.ts"
import * as Recycler from "../src/Recycler.ts"
import { config } from "./model/config.ts"

const make = (given: Partial<Config>) => new State<string>(config(given))
const wait = (state: State<string>, now = 0) => Transition.enqueue(state, now, {}) as Waiters.Waiter<string>
const connecting = (state: State<string>) => [...state.slots].filter((slot) => slot.status === Slot.Connecting)
const events = (state: State<string>) =>
  state.commands.flatMap((command) => (command._tag === "Event" ? [command.event._tag] : []))

/** A waiter that has been given a newly opened resource. */
const borrow = (state: State<string>, now = 0): Slot.Slot<string> => {
  const waiter = wait(state, now)
  Transition.opened(state, now, connecting(state)[0]!, `resource ${now}`)
  return waiter.slot!
}

describe("an outage", () => {
  it("began when the first failed attempt began, not when that attempt was given up", () => {
    const state = make({ connectTimeout: 5_000, unavailableAfter: 3_000 })
    const waiter = wait(state)
    Transition.tick(state, 5_000)
    expect(state.trouble?.since).toBe(0)
    expect(waiter.rejection?._tag).toBe("Unavailable")
  })

  it("is found when the last open resource is lost while opening has long been failing", () => {
    const state = make({ max: 2, unavailableAfter: 100, retryBase: 1_000 })
    const slot = borrow(state)
    const waiter = wait(state)
    Transition.openFailed(state, 0, connecting(state)[0]!, { kind: "failed", error: "refused" })
    Transition.release(state, 200, slot, slot.lease, Recycler.close("broken"))
    expect(waiter.rejection?._tag).toBe("Unavailable")
  })

  it("is not called after one failure that nobody followed up", () => {
    const state = make({ unavailableAfter: 3_000 })
    const waiter = wait(state)
    Transition.openFailed(state, 0, connecting(state)[0]!, { kind: "failed", error: "refused" })
    Transition.cancel(state, 0, waiter)
    Transition.tick(state, 10_000)
    expect(events(state)).not.toContain("Unavailable")
    // An hour later a restart has to be waited out as if there had been no failure before.
    const later = wait(state, 3_600_000)
    Transition.openFailed(state, 3_600_000, connecting(state)[0]!, { kind: "failed", error: "refused" })
    expect(later.status).toBe(Waiters.Waiting)
    expect(state.trouble?.since).toBe(3_600_000)
  })

  it("begins anew after a refusal for lack of capacity, which is no fault", () => {
    const state = make({ max: 2, unavailableAfter: 3_000, retryBase: 10 })
    const slot = borrow(state)
    const waiter = wait(state)
    Transition.openFailed(state, 0, connecting(state)[0]!, { kind: "capacity", error: "full" })
    Transition.tick(state, 9_000)
    Transition.release(state, 9_000, slot, slot.lease, Recycler.close("server restarts"))
    Transition.openFailed(state, 9_000, connecting(state)[0]!, { kind: "failed", error: "restarts" })
    expect(waiter.status).toBe(Waiters.Waiting)
  })

  it("is over for those who listen when the other side answers that it is full", () => {
    const state = make({})
    wait(state)
    Transition.openFailed(state, 0, connecting(state)[0]!, { kind: "fatal", error: "no such host" })
    expect(events(state)).toContain("Unavailable")
    wait(state, 10_000)
    Transition.openFailed(state, 10_000, connecting(state)[0]!, { kind: "capacity", error: "full" })
    expect(events(state)).toContain("Available")
  })
})

describe("a saturated pool", () => {
  it("is relieved when there is room, even where nobody may wait", () => {
    const state = make({ max: 1, maxWaiting: 0 })
    const slot = borrow(state)
    expect(wait(state)).toMatchObject({ _tag: "Saturated" })
    Transition.tick(state, 10)
    expect(events(state)).not.toContain("Relieved")
    Transition.release(state, 20, slot, slot.lease, Recycler.keep)
    expect(events(state)).toContain("Relieved")
  })
})

describe("a resource that nobody holds", () => {
  it("is closed at once by a drain, whatever its reset does: the grace is for leases", () => {
    const state = make({ resetTimeout: 60_000 })
    const slot = borrow(state)
    Transition.release(state, 0, slot, slot.lease, undefined)
    expect(slot.status).toBe(Slot.Resetting)
    Transition.drain(state, 0, 100)
    expect(slot.status).toBe(Slot.Closing)
    Transition.closed(state, 1, slot)
    expect(state.phase).toBe("closed")
  })

  it("is closed at once by invalidate, so that no waiter counts on a check that means nothing", () => {
    const state = make({ max: 1, checkAfter: 1_000 })
    const slot = borrow(state)
    Transition.release(state, 0, slot, slot.lease, Recycler.keep)
    const waiter = wait(state, 2_000)
    expect(slot.status).toBe(Slot.Checking)
    Transition.invalidate(state, 2_000, slot)
    Transition.closed(state, 2_001, slot)
    Transition.opened(state, 2_002, connecting(state)[0]!, "next")
    expect(waiter.slot?.resource).toBe("next")
  })
})

describe("the idle timeout", () => {
  it("is seen to after the minimum was lowered under slots that are idle already", () => {
    const state = make({ max: 1, min: 1, idleTimeout: 1_000 })
    const slot = borrow(state)
    Transition.release(state, 0, slot, slot.lease, Recycler.keep)
    Transition.tick(state, 10)
    Transition.resize(state, 10, 0, 1)
    expect(state.wakeAt).toBe(1_000)
    Transition.tick(state, 1_000)
    expect(slot.status).toBe(Slot.Closing)
  })

  it("counts for the coldest slot when another one lifts the pool above its minimum", () => {
    const state = make({ max: 2, min: 1, checkAfter: 100, idleTimeout: 1_000 })
    const slot = borrow(state)
    Transition.release(state, 0, slot, slot.lease, Recycler.keep)
    Transition.tick(state, 200)
    Transition.warmUp(state, 200, 2)
    expect(state.wakeAt).toBe(1_000)
  })
})

describe("a lifetime that is over", () => {
  it("ends the lending even if the timer is late", () => {
    const state = make({ max: 1, lifetime: 1_000, lifetimeJitter: 0 })
    const slot = borrow(state)
    Transition.release(state, 0, slot, slot.lease, Recycler.keep)
    expect(Transition.take(state, 2_000, {})).toBeUndefined()
    wait(state, 2_000)
    expect(slot.status).toBe(Slot.Closing)
  })

  it("doesn't hide the younger slots below it", () => {
    const state = make({ max: 2, lifetime: 1_000, lifetimeJitter: 0 })
    const old = borrow(state, 0)
    const young = borrow(state, 500)
    Transition.release(state, 600, young, young.lease, Recycler.keep)
    Transition.release(state, 700, old, old.lease, Recycler.keep)
    expect(Transition.take(state, 1_200, {})).toBe(young)
  })
})

describe("warming up", () => {
  it("opens the minimum together with what the start waits for", () => {
    const state = make({ min: 3, max: 5, warm: true })
    Transition.warmUp(state, 0, 1)
    expect(connecting(state)).toHaveLength(3)
  })
})
