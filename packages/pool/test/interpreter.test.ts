/**
 * Faults of the interpreter, found by review and by the sweep, each as the least that shows it.
 */
import { expect, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, Stream, TestClock } from "effect"
import * as Borrowing from "../src/internal/interpreter/borrowing.ts"
import { Interpreter } from "../src/internal/interpreter/interpreter.ts"
import * as Transition from "../src/internal/state/transitions.ts"
import * as Recycler from "../src/Recycler.ts"
import { config } from "./model/config.ts"
import { refused, Server, settle } from "./server.ts"

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
    const driver = {
      config: config({ max: 1 }),
      acquire: new Server().acquire,
      check: undefined,
      onAcquire: undefined,
      recycler: undefined,
      classify: undefined,
      observer: undefined
    }
    const interpreter = new Interpreter(driver, yield* Effect.runtime<never>(), yield* Effect.clock)
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
