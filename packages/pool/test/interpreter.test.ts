/**
 * Faults of the interpreter, found by review and by the sweep, each as the least that shows it.
 */
import { expect, it } from "@effect/vitest"
import { type Clock, Deferred, Duration, Effect, Fiber, Stream, Supervisor, TestClock } from "effect"
import * as Borrowing from "../src/internal/interpreter/borrowing.ts"
import { Interpreter } from "../src/internal/interpreter/interpreter.ts"
import type { Config } from "../src/internal/state/config.ts"
import * as Slot from "../src/internal/state/slot.ts"
import * as Transition from "../src/internal/state/transitions.ts"
import type { Waiter } from "../src/internal/state/waiters.ts"
import * as Recycler from "../src/Recycler.ts"
import { config } from "./model/config.ts"
import { id, type Resource, refused, Server, settle } from "./server.ts"

const interpret = (server: Server, bounds: Partial<Config>, recycler?: Recycler.Recycler<Resource>) =>
  Effect.gen(function* () {
    const driver = {
      config: config(bounds),
      acquire: server.acquire,
      check: undefined,
      onAcquire: undefined,
      recycler,
      classify: undefined,
      observer: undefined
    }
    return new Interpreter(driver, yield* Effect.runtime<never>(), yield* Effect.clock)
  })

it.scoped("a connect that is given up before its fiber has begun is over at once", () =>
  Effect.gen(function* () {
    const pool = yield* new Server().pool()
    yield* Effect.fork(pool.use(() => Effect.never))
    // The borrower runs, its connect is forked, and the drain comes before that fiber's first step.
    yield* Effect.yieldNow()
    expect(pool.unsafeStats().connecting).toBe(1)
    yield* pool.drain(0)
    expect(pool.unsafeStats().total).toBe(0)
  })
)

it.scoped("a check that throws instead of failing costs one resource, not the pool", () =>
  Effect.gen(function* () {
    const check = () => {
      throw new Error("check is broken")
    }
    const pool = yield* new Server().pool({ max: 1, check, checkAfter: 0 })
    yield* pool.use(() => Effect.void)
    expect(yield* pool.use((resource) => Effect.succeed(resource.id))).toBe(2)
  })
)

it.scoped("a classify that throws counts as a failure that time won't mend", () =>
  Effect.gen(function* () {
    const server = new Server()
    server.opening = Effect.fail(refused)
    const classify = () => {
      throw new Error("classify is broken")
    }
    const pool = yield* server.pool({ classify })
    const error = yield* Effect.flip(pool.use(() => Effect.void))
    expect(error).toMatchObject({ _tag: "PoolUnavailable", cause: new Error("classify is broken") })
  })
)

it.scoped("a pool that could not be made is gone, although its scope goes on", () =>
  Effect.gen(function* () {
    const server = new Server()
    server.opening = Effect.fail(refused)
    expect(yield* Effect.flip(server.pool({ start: "min", min: 2 }))).toBe(refused)
    const { attempts } = server
    yield* TestClock.adjust("1 minute")
    expect(server.attempts).toBe(attempts)
  })
)

it.scoped("a waiter whose slot a drain takes back before it goes on is told that the pool is closed", () =>
  Effect.gen(function* () {
    const interpreter = yield* interpret(new Server(), { max: 1 })
    const held = yield* Deferred.make<void>()
    yield* Effect.fork(
      Borrowing.use(interpreter, () => Effect.zipRight(Deferred.succeed(held, undefined), Effect.never))
    )
    yield* Deferred.await(held)
    const waiter = yield* Effect.fork(Borrowing.use(interpreter, (resource) => Effect.succeed(resource.open)))
    yield* Effect.yieldNow()
    const { state } = interpreter
    expect(state.waiters.size).toBe(1)
    const [slot] = state.slots
    interpreter.step((state, now) => {
      Transition.release(state, now, slot!, slot!.lease, undefined)
      Transition.reset(state, now, slot!, Recycler.keep)
      Transition.drain(state, now, 0)
      Transition.tick(state, now)
    })
    expect(yield* Effect.flip(Fiber.join(waiter))).toMatchObject({ _tag: "PoolClosed" })
  })
)

it.scoped("the stream of events ends with the pool, also for those who come late", () =>
  Effect.gen(function* () {
    const pool = yield* new Server().pool()
    const reader = yield* Effect.fork(Stream.runCollect(pool.events))
    yield* settle
    yield* pool.drain()
    expect(Array.from(yield* Fiber.join(reader), (event) => event._tag)).toEqual(["Draining", "Drained"])
    expect(yield* Stream.runCount(pool.events)).toBe(0)
  })
)

it.effect.each(["connectTimeout", "checkTimeout", "resetTimeout", "lifetime", "retryBase", "retryCap"] as const)(
  "a pool with no %s is refused: it would work without a pause and without success",
  (option) =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(Effect.scoped(new Server().pool({ [option]: 0 })))
      expect(error).toMatchObject({ _tag: "InvalidPoolOptions", option })
    })
)

class Throwing extends Supervisor.AbstractSupervisor<void> {
  throws = false
  override readonly value = Effect.void
  override onStart(): void {
    if (this.throws) throw new Error("supervisor is broken")
  }
}

it.scoped("a runtime that can't start a fiber costs what that fiber was for, not the pool", () =>
  Effect.gen(function* () {
    const supervisor = new Throwing()
    const server = new Server()
    const pool = yield* Effect.supervised(
      server.pool({ max: 1, acquireTimeout: "1 minute", unavailableAfter: Duration.infinity }),
      supervisor
    )
    // Of the fibers that open and close, and of the timer, none begins.
    supervisor.throws = true
    const early = yield* Effect.fork(pool.use(id))
    yield* settle
    expect(pool.unsafeStats()).toMatchObject({ connecting: 1, waiting: 1 })
    expect(server.attempts).toBe(0)
    supervisor.throws = false
    // Whoever comes next sets the timer again, and the attempt that never began ends as one that hangs.
    const late = yield* Effect.fork(pool.use(id))
    yield* TestClock.adjust("30 seconds")
    expect(yield* Fiber.joinAll([early, late])).toEqual([1, 1])
  })
)

it.scoped("a defect in the midst of what has to be done leaves the rest to the next transition", () =>
  Effect.gen(function* () {
    const interpreter = yield* interpret(new Server(), { max: 2 })
    const [broken, waiter] = [1, 2].map((holder) =>
      interpreter.step((state, now) => Transition.enqueue(state, now, holder) as Waiter<Resource>)
    )
    let woken = false
    broken!.resume = () => {
      throw new Error("its scheduler is broken")
    }
    waiter!.resume = () => {
      woken = true
    }
    const drain = () => interpreter.step((state, now) => Transition.drain(state, now, 0))
    expect(drain).toThrow("its scheduler is broken")
    expect(woken).toBe(false)
    drain()
    expect(woken).toBe(true)
  })
)

it.scoped("nothing is kept of resources that are gone, however they went", () =>
  Effect.gen(function* () {
    const server = new Server()
    const reset = Effect.suspend(() => ends[turn++ % ends.length]!)
    const ends = [
      Effect.succeed(Recycler.keep),
      Effect.succeed(Recycler.close("worn")),
      Effect.fail("reset"),
      Effect.never
    ]
    let turn = 0
    const interpreter = yield* interpret(
      server,
      { max: 3, maxUses: 4, connectTimeout: 1_000, retryBase: 10 },
      () => reset
    )
    const opening = [Effect.void, Effect.fail(refused), Effect.never, Effect.uninterruptible(Effect.never)]
    server.opening = Effect.suspend(() => opening[server.attempts % opening.length]!)
    for (let round = 0; round < 60; round++) {
      yield* Effect.fork(Effect.exit(Borrowing.use(interpreter, id)))
      yield* TestClock.adjust("700 millis")
    }
    yield* TestClock.adjust("1 minute")
    expect(interpreter.state.totals.opened).toBeGreaterThan(10)
    expect(interpreter.jobs.size).toBeLessThanOrEqual(2 * interpreter.state.counts[Slot.Idle])
    const draining = yield* Effect.fork(interpreter.drain(0))
    yield* TestClock.adjust("1 minute")
    yield* Fiber.join(draining)
    expect(interpreter.jobs.size).toBe(0)
  })
)

it.scoped.each([
  ["a check", undefined],
  ["a reset", () => Effect.succeed(Recycler.keep)]
] as const)("nothing is kept of %s that is over", ([, recycler]) =>
  Effect.gen(function* () {
    const interpreter = yield* interpret(new Server(), { checkAfter: 0 }, recycler)
    yield* Borrowing.use(interpreter, id)
    yield* Borrowing.use(interpreter, id)
    yield* settle
    expect(interpreter.state.counts[Slot.Idle]).toBe(1)
    // Whose resource it is, and what closes it.
    expect(interpreter.jobs.size).toBe(2)
  })
)

it.scoped("a start that is over listens to the pool no more, whether it succeeded or was given up", () =>
  Effect.gen(function* () {
    const server = new Server()
    const started = yield* interpret(server, {})
    yield* started.start("one")
    expect(started.news.listeners.size).toBe(0)
    server.opening = Effect.never
    const starting = yield* interpret(server, {})
    const start = yield* Effect.fork(starting.start("one"))
    yield* settle
    expect(starting.news.listeners.size).toBe(1)
    yield* Fiber.interrupt(start)
    expect(starting.news.listeners.size).toBe(0)
  })
)

it.scoped("what is due in two months is due then: timers hold no more than 24.8 days", () =>
  Effect.gen(function* () {
    const clock = yield* Effect.clock
    const slept: Array<number> = []
    const noting: Clock.Clock = Object.assign(Object.create(clock), {
      sleep: (duration: Duration.Duration) => {
        slept.push(Duration.toDays(duration))
        return clock.sleep(duration)
      }
    })
    const events: Array<string> = []
    const event = (event: { readonly _tag: string }) => events.push(event._tag)
    const pool = yield* Effect.withClock(new Server().pool({ leakAfter: "60 days", observer: { event } }), noting)
    yield* Effect.fork(pool.use(() => Effect.never))
    yield* settle
    yield* TestClock.adjust("60 days")
    expect(events).toEqual(["Opened", "LeakSuspected"])
    expect(slept.length).toBeGreaterThan(50)
    expect(Math.max(...slept)).toBeLessThan(24.8)
  })
)

it.scoped("a pool with nothing open and nobody waiting has no timer, which would hold the process", () =>
  Effect.gen(function* () {
    const supervisor = yield* Supervisor.track
    const fibers = Effect.map(supervisor.value, (fibers) => fibers.length)
    const pool = yield* Effect.supervised(
      new Server().pool({ min: 0, idleTimeout: "1 seconds", closeTimeout: "1 hours" }),
      supervisor
    )
    yield* pool.use(() => Effect.void)
    yield* settle
    expect(yield* fibers).toBe(1)
    yield* TestClock.adjust("1 seconds")
    yield* settle
    expect(pool.unsafeStats()).toMatchObject({ total: 0, closed: 1 })
    expect(yield* fibers).toBe(0)
    yield* pool.use(() => Effect.void)
    expect(pool.unsafeStats().opened).toBe(2)
  })
)
