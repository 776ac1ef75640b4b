/**
 * What a pool tells: events with reasons, observers, numbers.
 */
import { describe, expect, it } from "@effect/vitest"
import { Chunk, type Clock, Effect, Fiber, Stream, TestClock } from "effect"
import type * as Pool from "../src/Pool.ts"
import type { PoolStats } from "../src/PoolStats.ts"
import { hold, id, type Resource, recorder, refused, Server, settle, tags } from "./server.ts"

describe("events and observers", () => {
  it.scoped("a stream tells what happens, with reasons", () =>
    Effect.gen(function* () {
      const server = new Server()
      const pool = yield* server.pool({ max: 1, maxWaiting: 0, name: "users" })
      const reader = yield* Effect.fork(Stream.runCollect(pool.events))
      yield* settle
      yield* pool.use(() => Effect.flip(pool.use(id)))
      yield* hold(pool, Effect.sleep("1 second"))
      yield* Effect.flip(pool.use(id))
      yield* TestClock.adjust("1 second")
      yield* pool.resize({ max: 2 })
      yield* pool.expire
      yield* settle
      yield* pool.drain()
      const events = yield* Fiber.join(reader)
      expect(tags(events)).toEqual(["Opened", "Saturated", "Relieved", "Resized", "Closed", "Draining", "Drained"])
      expect(Chunk.unsafeGet(events, 0)).toEqual({ _tag: "Opened", pool: "users", id: 1, took: 0, total: 1 })
      expect(Chunk.unsafeGet(events, 4)).toMatchObject({ reason: "expired", age: 1_000, uses: 2, timedOut: false })
    })
  )

  it.scoped("an outage is told with its beginning and its end", () =>
    Effect.gen(function* () {
      const { events, observer } = recorder()
      const server = new Server()
      server.opening = Effect.fail(refused)
      const pool = yield* server.pool({ min: 1, observer })
      yield* Effect.fork(Effect.exit(pool.use(id)))
      yield* TestClock.adjust("10 seconds")
      server.opening = Effect.void
      yield* TestClock.adjust("10 seconds")
      const told = events.filter((event) => event._tag !== "ConnectFailed")
      expect(tags(told)).toEqual(["Unavailable", "Opened", "Available"])
      expect(told[0]).toMatchObject({ error: refused })
    })
  )

  it.scoped("an observer hears how long each wait and each use was", () =>
    Effect.gen(function* () {
      const waits: Array<number> = []
      const uses: Array<number> = []
      const pool = yield* new Server().pool({
        max: 1,
        observer: { acquired: (millis) => waits.push(millis), released: (millis) => uses.push(millis) }
      })
      const borrow = Effect.fork(pool.use(() => Effect.sleep("1 second")))
      yield* borrow
      yield* borrow
      yield* TestClock.adjust("2 seconds")
      yield* TestClock.adjust("2 seconds")
      expect(waits).toEqual([0, 1_000])
      expect(uses).toEqual([1_000, 1_000])
    })
  )

  it.scoped("what taking an idle one takes is measured, not taken for nothing", () =>
    Effect.gen(function* () {
      let nanos = 0n
      const clock = yield* Effect.clock
      const ticking: Clock.Clock = { ...clock, unsafeCurrentTimeNanos: () => (nanos += 1_000n) }
      const waits: Array<number> = []
      const pool = yield* Effect.withClock(
        new Server().pool({ max: 1, observer: { acquired: (millis) => waits.push(millis) } }),
        ticking
      )
      yield* pool.use(id)
      expect(waits.map((wait) => wait > 0)).toEqual([true])
    })
  )

  it.scoped("an observer that throws changes nothing", () =>
    Effect.gen(function* () {
      const fail = () => {
        throw new Error("observer is broken")
      }
      const server = new Server()
      const pool = yield* server.pool({ max: 1, observer: { acquired: fail, released: fail, event: fail } })
      const waiter = yield* Effect.fork(pool.use(() => Effect.sleep("1 second")))
      yield* Effect.fork(pool.use(id))
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(waiter)
      expect(yield* Effect.scoped(Effect.map(pool.get, (resource) => resource.id))).toBe(1)
      yield* pool.drain()
      expect(server.open).toEqual([])
    })
  )

  it.scoped("an observer may use the pool that it observes", () =>
    Effect.gen(function* () {
      const server = new Server()
      const pool: Pool.Pool<Resource> = yield* server.pool({
        max: 1,
        observer: {
          event: (event) => {
            if (event._tag === "Opened" && event.id === 1) Effect.runSync(pool.expire)
          }
        }
      })
      yield* Effect.fork(pool.use(id))
      yield* settle
      expect(yield* pool.use(id)).toBe(2)
      expect(server.open.map((resource) => resource.id)).toEqual([2])
    })
  )

  it.scoped("a lease that is held for long is reported once, with the span of its holder", () =>
    Effect.gen(function* () {
      const { events, observer } = recorder()
      const pool = yield* new Server().pool({ leakAfter: "30 seconds", observer })
      yield* Effect.fork(
        Effect.withSpan(
          pool.use(() => Effect.never),
          "import users"
        )
      )
      yield* hold(pool)
      yield* settle
      yield* TestClock.adjust("2 minutes")
      const leaks = events.filter((event) => event._tag === "LeakSuspected")
      expect(leaks).toHaveLength(2)
      expect(leaks[0]).toMatchObject({ id: 1, held: 30_000, holder: "import users" })
      expect(leaks[1]!.holder).toMatch(/^#\d+$/)
      expect(pool.unsafeStats().leaksSuspected).toBe(2)
    })
  )
})

describe("numbers", () => {
  it.scoped("add up", () =>
    Effect.gen(function* () {
      const server = new Server()
      const pool = yield* server.pool({ max: 2, maxWaiting: 1, name: "users" })
      yield* pool.use(id)
      yield* pool.use(id)
      yield* hold(pool)
      yield* hold(pool)
      yield* Effect.fork(pool.use(id))
      yield* settle
      yield* Effect.flip(pool.use(id))
      yield* TestClock.adjust("3 seconds")
      const expected: PoolStats = {
        name: "users",
        min: 0,
        max: 2,
        total: 2,
        idle: 0,
        leased: 2,
        connecting: 0,
        checking: 0,
        resetting: 0,
        closing: 0,
        waiting: 1,
        oldestWait: 3_000,
        acquired: 4,
        reused: 2,
        reuseRate: 0.5,
        queued: 3,
        timedOut: 0,
        rejected: 1,
        opened: 2,
        closed: 0,
        connectFailures: 0,
        leaksSuspected: 0,
        atCapacity: false,
        unavailable: false
      }
      expect(yield* pool.stats).toEqual(expected)
      expect(pool.unsafeStats()).toEqual(expected)
    })
  )
})
