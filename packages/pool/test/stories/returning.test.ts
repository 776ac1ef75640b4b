/**
 * Failures that are on record in other pools' trackers, told to this one: what comes back, what is broken, and the end. The numbers are
 * those of the pool's laws, as the README lists them.
 */
import { describe, expect, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, TestClock } from "effect"
import * as Recycler from "../../src/Recycler.ts"
import { hold, id, Server, settle } from "../server.ts"

describe("law 15: what is given back ends in idle or closed, and its slot comes back once", () => {
  // asyncpg #220 and #1307, skunk #1065: a reset or a close that failed or hung kept the slot.
  const resets = {
    fails: Effect.fail("reset"),
    dies: Effect.die("reset"),
    hangs: Effect.never,
    "hangs and can't be interrupted": Effect.uninterruptible(Effect.never)
  }
  const closes = { works: Effect.void, dies: Effect.die("close"), hangs: Effect.never }
  const cases = Object.entries(resets).flatMap(([reset, resetting]) =>
    Object.entries(closes).map(([close, closing]) => ({ reset, resetting, close, closing }))
  )
  it.scoped.each(cases)("when its reset $reset and its close $close", ({ resetting, closing }) =>
    Effect.gen(function* () {
      const server = new Server()
      server.closing = closing
      const pool = yield* server.pool({
        max: 1,
        recycler: Recycler.resetWhen(
          (resource) => resource.id === 1,
          () => resetting
        )
      })
      yield* pool.use(id)
      yield* settle
      yield* TestClock.adjust("5 seconds")
      const next = yield* Effect.fork(pool.use(id))
      yield* settle
      yield* TestClock.adjust("5 seconds")
      expect(yield* Fiber.join(next)).toBe(2)
      expect(pool.unsafeStats()).toMatchObject({ idle: 1, total: 1, closed: 1 })
    })
  )
})

describe("law 20: a check that hangs costs its own timeout at most", () => {
  // pgx #2394: after a network fault each borrower waited for the system's TCP timeout.
  it.scoped("then another resource serves the same borrower", () =>
    Effect.gen(function* () {
      const check = () => Effect.uninterruptible(Effect.never)
      const pool = yield* new Server().pool({ max: 2, check, checkAfter: "1 second", checkTimeout: "1 second" })
      yield* pool.use(id)
      yield* TestClock.adjust("1 minute")
      const borrower = yield* Effect.fork(pool.use(id))
      yield* settle
      yield* TestClock.adjust("1 second")
      expect(yield* Fiber.join(borrower)).toBe(2)
    })
  )

  it.scoped("and not once for each idle resource, when all of them are dead", () =>
    Effect.gen(function* () {
      const server = new Server()
      const pool = yield* server.pool({ min: 5, max: 6, start: "min", check: () => Effect.never })
      yield* TestClock.adjust("1 minute")
      const borrower = yield* Effect.fork(pool.use(id))
      yield* settle
      yield* TestClock.adjust("1 second")
      expect(yield* Fiber.join(borrower)).toBe(6)
    })
  )
})

describe("law 22: a drain ends", () => {
  // node-postgres #2199, postgres.js #1195: end() waited for ever for a client that was never given back.
  it.scoped("waiters are told at once, leases have the grace, then their resources are closed", () =>
    Effect.gen(function* () {
      const server = new Server()
      const pool = yield* server.pool({ max: 1 })
      yield* hold(pool)
      const waiter = yield* Effect.fork(Effect.flip(pool.use(id)))
      yield* settle
      const draining = yield* Effect.fork(pool.drain("3 seconds"))
      expect(yield* Fiber.join(waiter)).toMatchObject({ _tag: "PoolClosed" })
      yield* TestClock.adjust("2999 millis")
      expect(server.open).toHaveLength(1)
      yield* TestClock.adjust("1 millis")
      yield* Fiber.join(draining)
      expect(server.open).toHaveLength(0)
      expect(yield* Effect.flip(pool.use(id))).toMatchObject({ _tag: "PoolClosed" })
    })
  )

  it.scoped("even if closing hangs", () =>
    Effect.gen(function* () {
      const server = new Server()
      server.closing = Effect.never
      const pool = yield* server.pool()
      yield* pool.use(id)
      const draining = yield* Effect.fork(pool.drain(0))
      yield* settle
      yield* TestClock.adjust("5 seconds")
      yield* Fiber.join(draining)
      expect(pool.unsafeStats().total).toBe(0)
    })
  )

  it.scoped("sooner, if a second drain allows less", () =>
    Effect.gen(function* () {
      const pool = yield* new Server().pool()
      yield* hold(pool)
      const draining = yield* Effect.fork(pool.drain("1 hour"))
      yield* settle
      yield* Effect.fork(pool.drain("1 second"))
      yield* settle
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(draining)
    })
  )

  it.scoped("and a lease that ends after it was cut off changes nothing", () =>
    Effect.gen(function* () {
      const told: Array<string> = []
      const pool = yield* new Server().pool({
        observer: { released: () => told.push("observer") },
        recycler: () => {
          told.push("recycler")
          return Recycler.keep
        }
      })
      const go = yield* Deferred.make<void>()
      const borrower = yield* hold(pool, Deferred.await(go))
      const draining = yield* Effect.fork(pool.drain(0))
      yield* settle
      yield* TestClock.adjust(0)
      yield* Fiber.join(draining)
      const before = pool.unsafeStats()
      yield* Deferred.succeed(go, undefined)
      yield* Fiber.join(borrower)
      expect(pool.unsafeStats()).toEqual(before)
      expect(told).toEqual([])
    })
  )
})
