/**
 * Failures that are on record in other pools' trackers, told to this one: what is opened, and what if that fails. The numbers are
 * those of the pool's laws, as the README lists them.
 */
import { describe, expect, it } from "@effect/vitest"
import { Duration, Effect, Fiber, Random, TestClock } from "effect"
import { hold, id, refused, Server, settle } from "../server.ts"

describe("law 8: the server never sees more than the maximum", () => {
  // puddle 2.2.1, psycopg #1176, effect's Pool: broken ones were replaced before they were gone.
  it.scoped("not even while broken ones are closed slowly and replaced", () =>
    Effect.gen(function* () {
      const server = new Server()
      server.closing = Effect.sleep("2 seconds")
      const pool = yield* server.pool({ max: 3 })
      const borrowers = yield* Effect.forEach(Array.from({ length: 30 }), () =>
        Effect.fork(pool.use((resource) => Effect.zipRight(Effect.sleep("50 millis"), pool.invalidate(resource))))
      )
      // Until all have been served or timed out.
      for (let i = 0; i < 30; i++) yield* TestClock.adjust("1 second")
      yield* Effect.forEach(borrowers, Fiber.await)
      expect(server.opened.length).toBeGreaterThan(6)
      expect(server.most).toBe(3)
    })
  )
})

describe("law 9: a failed connect loses no slot and strands nobody", () => {
  // skunk #1042, hasql-pool #56: each failure took its slot with it, until the pool was empty for ever.
  it.scoped("after a hundred failures as many can be lent as ever", () =>
    Effect.gen(function* () {
      const server = new Server()
      server.opening = Effect.fail(refused)
      const pool = yield* server.pool({ max: 3 })
      while (server.attempts < 100) {
        yield* Effect.fork(Effect.exit(pool.use(id)))
        yield* TestClock.adjust("5 seconds")
      }
      expect(pool.unsafeStats()).toMatchObject({ total: 0, waiting: 0, connectFailures: server.attempts })
      server.opening = Effect.void
      yield* TestClock.adjust("5 seconds")
      // One to find out that the server is back; while it does so the others would fail fast.
      yield* pool.use(id)
      yield* hold(pool)
      yield* hold(pool)
      yield* hold(pool)
      expect(pool.unsafeStats()).toMatchObject({ leased: 3, total: 3 })
    })
  )
})

describe("law 10: a server that is down is not stormed, and callers don't wait for it", () => {
  // postgres.js #1179: 12,500 attempts a second; generic-pool #175: attempts without end or pause.
  it.scoped("a thousand callers cause a few attempts a second, one at a time, and fail fast with the cause", () =>
    Effect.gen(function* () {
      const server = new Server()
      server.opening = Effect.fail(refused)
      const pool = yield* server.pool({ max: 10 })
      const early = yield* Effect.forEach(Array.from({ length: 100 }), () => Effect.fork(Effect.flip(pool.use(id))))
      yield* TestClock.adjust("3 seconds")
      for (const error of yield* Fiber.joinAll(early)) expect(error).toMatchObject({ _tag: "PoolUnavailable" })
      const before = server.attempts
      for (let second = 0; second < 60; second++) {
        yield* Effect.forEach(Array.from({ length: 15 }), () => Effect.fork(Effect.exit(pool.use(id))))
        yield* TestClock.adjust("1 second")
      }
      expect(before).toBeLessThan(12)
      expect(server.attempts - before).toBeLessThan(60)
      expect(server.most).toBeLessThanOrEqual(3)
      const late = yield* Effect.flip(pool.use(id))
      expect(late).toMatchObject({ _tag: "PoolUnavailable", cause: refused })
    })
  )

  it.scoped("a server that has restarted is not stormed by those who waited for it", () =>
    Effect.gen(function* () {
      const server = new Server()
      server.opening = Effect.sleep("100 millis")
      const pool = yield* server.pool({ max: 50, maxConnecting: 3 })
      yield* Effect.forEach(Array.from({ length: 50 }), () => Effect.fork(pool.use(() => Effect.never)))
      yield* settle
      expect(pool.unsafeStats()).toMatchObject({ connecting: 3, waiting: 50 })
      yield* TestClock.adjust("2 seconds")
      expect(pool.unsafeStats()).toMatchObject({ leased: 50 })
      expect(server.attempts).toBe(50)
    })
  )

  it.scoped("with jitter: pools that failed together don't try again together", () =>
    Effect.gen(function* () {
      const pauses: Array<number> = []
      const server = new Server()
      server.opening = Effect.fail(refused)
      const event = (event: { _tag: string; retryIn?: number }) => {
        if (event._tag === "ConnectFailed") pauses.push(event.retryIn!)
      }
      yield* Effect.forEach(Array.from({ length: 20 }), () =>
        Effect.flatMap(server.pool({ observer: { event } }), (pool) => Effect.fork(Effect.exit(pool.use(id))))
      )
      yield* settle
      expect(new Set(pauses).size).toBeGreaterThan(15)
      for (const pause of pauses) expect(pause).toBeGreaterThanOrEqual(125)
      for (const pause of pauses) expect(pause).toBeLessThanOrEqual(250)
    })
  )
})

describe("law 11: what was opened together doesn't end together", () => {
  // PostHog #49745: all connections reached their lifetime in one moment, and the server met them all anew.
  it.scoped("at most a quarter of a hundred in any hundredth of the lifetime", () =>
    Effect.gen(function* () {
      const closed: Array<number> = []
      const event = (event: { _tag: string; reason?: string; age?: number }) => {
        if (event._tag === "Closed" && event.reason === "lifetime") closed.push(event.age!)
      }
      const pool = yield* new Server().pool({
        min: 100,
        max: 100,
        start: "min",
        lifetime: "1 hour",
        idleTimeout: Duration.infinity,
        observer: { event }
      })
      for (let i = 0; i < 100; i++) yield* TestClock.adjust("36 seconds")
      expect(closed).toHaveLength(100)
      for (const from of closed) {
        expect(closed.filter((age) => age >= from && age < from + 36_000).length).toBeLessThanOrEqual(25)
      }
      expect(pool.unsafeStats().idle).toBe(100)
    }).pipe(Effect.withRandom(Random.make("expiry")))
  )
})

describe("law 14: the minimum comes back after any fault", () => {
  // HikariCP #1474 and #2161: after a network fault the pool stayed small.
  it.scoped("within the longest pause after the server is back", () =>
    Effect.gen(function* () {
      const server = new Server()
      const pool = yield* server.pool({ min: 3, max: 5, start: "min" })
      server.opening = Effect.fail(refused)
      yield* pool.expire
      yield* TestClock.adjust("1 minute")
      expect(pool.unsafeStats()).toMatchObject({ total: 0, unavailable: true })
      server.opening = Effect.void
      yield* TestClock.adjust("5 seconds")
      yield* settle
      expect(pool.unsafeStats()).toMatchObject({ idle: 3, unavailable: false })
    })
  )
})
