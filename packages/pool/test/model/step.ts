/**
 * One step: an operation, then what the state asks for, then every law.
 */
import type { Config } from "../../src/internal/state/config.ts"
import * as Transition from "../../src/internal/state/transitions.ts"
import * as Recycler from "../../src/Recycler.ts"
import * as Callers from "./callers.ts"
import { obey } from "./commands.ts"
import * as Laws from "./laws.ts"
import type { Operation } from "./operation.ts"
import * as Outside from "./outside.ts"
import { law, World } from "./world.ts"

export const begin = (config: Config): World => {
  const world = new World(config)
  if (world.warm) Transition.warmUp(world.state, world.now, 1)
  settle(world)
  world.total = world.entries.size
  return world
}

/** False if the operation means nothing now. */
export const step = (world: World, operation: Operation): boolean => {
  world.operation = operation
  world.verdict = undefined
  world.finishing = undefined
  world.ticked = false
  if (!perform(world, operation)) return false
  settle(world)
  checkPause(world)
  Laws.check(world)
  world.total = world.entries.size
  world.met.add(operation.kind)
  return true
}

const perform = (world: World, { kind, n }: Operation): boolean => {
  switch (kind) {
    case "acquire":
      return Callers.acquire(world, n % 7)
    case "release":
      return Callers.release(world, n, Recycler.keep)
    case "releaseWithReset":
      return Callers.release(world, n, undefined)
    case "releaseClosing":
      return Callers.release(world, n, Recycler.close("worn"))
    case "releaseAgain":
      return Callers.releaseAgain(world, n)
    case "hookFails":
      return Callers.hookFails(world, n)
    case "resume":
      return Callers.resume(world, n)
    case "cancelWaiting":
      return Callers.cancelWaiting(world, n)
    case "cancelGranted":
      return Callers.cancelGranted(world, n)
    case "invalidate":
      return Callers.invalidate(world, n)
    case "connectOk":
      return Outside.opens(world, n)
    case "connectFails":
      return Outside.refuses(world, n, "failed")
    case "connectFatal":
      return Outside.refuses(world, n, "fatal")
    case "connectAtCapacity":
      return Outside.refuses(world, n, "capacity")
    case "checkOk":
      return Outside.checks(world, n, true)
    case "checkFails":
      return Outside.checks(world, n, false)
    case "resetOk":
      return Outside.resets(world, n, Recycler.keep)
    case "resetCloses":
      return Outside.resets(world, n, Recycler.close("worn"))
    case "resetFails":
      return Outside.resets(world, n, { _tag: "Failed", error: "reset" })
    case "closeOk":
      return Outside.closes(world, n)
    case "lateSuccess":
      return Outside.late(world, n, true)
    case "lateFailure":
      return Outside.late(world, n, false)
    case "expire":
      for (const entry of world.entries.values()) entry.expired = true
      Transition.expire(world.state, world.now)
      return true
    case "resize":
      world.max = 1 + (n % 6)
      world.min = Math.floor(n / 6) % (world.max + 1)
      Transition.resize(world.state, world.now, world.min, world.max)
      return true
    case "pass":
      world.now += n
      ring(world)
      return true
    case "passUnnoticed":
      world.now += n
      return true
    case "drain":
      world.graceEnds = Math.min(world.graceEnds, world.now + n)
      world.draining = true
      Transition.drain(world.state, world.now, n)
      return true
  }
}

/** The timer fires as long as something is due. */
const ring = (world: World): void => {
  for (let ticks = 0; world.state.wakeAt <= world.now; ticks++) {
    law(ticks < 3, "the timer fires again and again for nothing")
    Transition.tick(world.state, world.now)
    settle(world)
    world.ticked = true
  }
}

const settle = (world: World): void => {
  const { commands } = world.state
  for (let i = 0; i < commands.length; i++) obey(world, commands[i]!)
  commands.length = 0
  for (const entry of world.places("moving")) {
    law(!world.draining, "a slot became idle while the pool closes")
    law(!entry.expired && !entry.resource!.invalidated, "a slot became idle that may not be lent again")
    world.put(entry, "idle")
  }
}

/** Chance has its share in the pause after a failure: the state says how long it is, the bounds are checked here. */
const checkPause = (world: World): void => {
  const { failing, state } = world
  if (failing === undefined || failing.last !== world.now || state.trouble === undefined) return
  const longest = world.longestPause(failing.failures)
  const { nextAttempt } = state.trouble
  law(nextAttempt >= failing.last + longest / 2 && nextAttempt <= failing.last + longest, "a wrong pause")
  world.failing = { ...failing, next: nextAttempt }
}
