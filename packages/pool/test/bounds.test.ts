/**
 * Ceilings that others set, bounds that change, generations that end.
 */
import { describe, expect, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, TestClock } from "effect"
import { hold, id, recorder, refused, Server, settle, tags } from "./server.ts"

describe("capacity", () => {
  it.scoped('"no more at present" lowers the ceiling: waiters share what is held, and it recovers by itself', () =>
    Effect.gen(function* () {
      const { events, observer } = recorder()
      const server = new Server()
      let room = 2
      server.opening = Effect.suspend(() => (server.open.length >= room ? Effect.fail(refused) : Effect.void))
      const pool = yield* server.pool({ max: 5, classify: () => "capacity", observer })
      const serve = () => pool.use((resource) => Effect.as(Effect.sleep("100 millis"), resource.id))
      const borrowers = yield* Effect.forEach(Array.from({ length: 10 }), () => Effect.fork(serve()))
      yield* TestClock.adjust("3 seconds")
      expect(new Set(yield* Fiber.joinAll(borrowers))).toEqual(new Set([1, 2]))
      expect(pool.unsafeStats()).toMatchObject({ atCapacity: true, unavailable: false })
      expect(tags(events)).toContain("AtCapacity")
      expect(tags(events)).not.toContain("Unavailable")
      room = 5
      for (let i = 0; i < 5; i++) yield* Effect.fork(pool.use(() => Effect.never))
      yield* TestClock.adjust("10 seconds")
      expect(pool.unsafeStats()).toMatchObject({ leased: 5, atCapacity: false })
    })
  )
})

describe("resize", () => {
  it.scoped("closes idle ones above a lower maximum now, and lent ones when they come back", () =>
    Effect.gen(function* () {
      const server = new Server()
      const pool = yield* server.pool({ start: "min", min: 4, max: 4 })
      const go = yield* Deferred.make<void>()
      const borrowers = [yield* hold(pool, Deferred.await(go)), yield* hold(pool, Deferred.await(go))]
      yield* pool.resize({ min: 0, max: 1 })
      yield* settle
      expect(pool.unsafeStats()).toMatchObject({ leased: 2, idle: 0, total: 2, max: 1 })
      yield* Deferred.succeed(go, undefined)
      yield* Effect.forEach(borrowers, Fiber.join)
      yield* settle
      expect(pool.unsafeStats()).toMatchObject({ idle: 1, total: 1 })
    })
  )

  it.scoped("serves waiters at once when the maximum is raised, and opens a higher minimum", () =>
    Effect.gen(function* () {
      const pool = yield* new Server().pool({ max: 1 })
      yield* hold(pool)
      const waiter = yield* Effect.fork(pool.use(id))
      yield* settle
      yield* pool.resize({ max: 2 })
      expect(yield* Fiber.join(waiter)).toBe(2)
      yield* pool.resize({ min: 4, max: 5 })
      yield* settle
      expect(pool.unsafeStats().total).toBe(4)
    })
  )

  it.scoped("refuses bounds that can't be, and leaves the old ones", () =>
    Effect.gen(function* () {
      const pool = yield* new Server().pool({ min: 1, max: 2 })
      expect(yield* Effect.flip(pool.resize({ min: 3 }))).toMatchObject({ _tag: "InvalidPoolOptions", option: "min" })
      expect(pool.unsafeStats()).toMatchObject({ min: 1, max: 2 })
    })
  )
})

describe("expire", () => {
  it.scoped("ends all that is open: idle now, lent ones when they come back, those being opened as they open", () =>
    Effect.gen(function* () {
      const server = new Server()
      const { events, observer } = recorder()
      const pool = yield* server.pool({ start: "min", min: 2, max: 3, observer })
      const go = yield* Deferred.make<void>()
      const borrower = yield* hold(pool, Deferred.await(go))
      server.opening = Effect.sleep("1 second")
      yield* pool.resize({ min: 3 })
      yield* settle
      yield* pool.expire
      yield* TestClock.adjust("1 second")
      yield* Deferred.succeed(go, undefined)
      yield* Fiber.join(borrower)
      for (let i = 0; i < 3; i++) yield* TestClock.adjust("1 second")
      const expired = events.flatMap((event) => (event._tag === "Closed" ? [`${event.id} ${event.reason}`] : []))
      expect(expired.sort()).toEqual(["1 expired", "2 expired", "3 expired"])
      expect(pool.unsafeStats()).toMatchObject({ idle: 3 })
    })
  )
})
