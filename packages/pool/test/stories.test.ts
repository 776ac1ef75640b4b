/**
 * Failures that are on record in other pools' trackers, told to this one. The numbers are those of the pool's laws, as
 * the README lists them.
 */
import { describe, expect, it } from "@effect/vitest"
import { Cause, Deferred, Duration, Effect, Exit, Fiber, Random, Scope, TestClock } from "effect"
import * as Recycler from "../src/Recycler.ts"
import { hold, type Resource, refused, Server, settle } from "./server.ts"

const id = (resource: Resource) => Effect.succeed(resource.id)

describe("law 1: no slot is ever lost", () => {
  // asyncpg #467 and #955, psycopg #509, pg-pool #3543, r2dbc-pool #143: a wait that timed out just as the connection
  // was handed over took the connection with it.
  it.scoped("when a borrower's own timeout and the hand-over come at the same moment", () =>
    Effect.gen(function* () {
      const pool = yield* new Server().pool({ max: 1 })
      yield* hold(pool, Effect.sleep("1 second"))
      const borrowers = yield* Effect.forEach(
        [1, 2, 3],
        () => Effect.fork(Effect.timeout(pool.use(id), "1 second").pipe(Effect.exit)),
        { concurrency: 1 }
      )
      yield* settle
      yield* TestClock.adjust("1 second")
      yield* Fiber.joinAll(borrowers)
      expect(pool.unsafeStats()).toMatchObject({ leased: 0, waiting: 0, idle: 1 })
      expect(yield* pool.use(id)).toBe(1)
    })
  )

  it.scoped("when the borrower's function throws instead of giving an effect", () =>
    Effect.gen(function* () {
      const pool = yield* new Server().pool({ max: 1 })
      const broken = pool.use((): Effect.Effect<void> => {
        throw new Error("not an effect")
      })
      expect(Exit.isFailure(yield* Effect.exit(broken))).toBe(true)
      expect(yield* pool.use(id)).toBe(1)
    })
  )
})

describe("law 2: a hand-over that nobody takes any more is offered to the next", () => {
  // vertx #1620, psycopg #1275: the connection went to a waiter that had given up, and the others waited on.
  it.scoped("within the same moment", () =>
    Effect.gen(function* () {
      const pool = yield* new Server().pool({ max: 1 })
      const scope = yield* Scope.make()
      yield* Scope.extend(pool.get, scope)
      const first = yield* Effect.fork(pool.use(id))
      const second = yield* Effect.fork(pool.use(id))
      yield* settle
      // Given to the first, which is interrupted before it can go on.
      yield* Scope.close(scope, Exit.void)
      expect(pool.unsafeStats()).toMatchObject({ leased: 1, waiting: 1 })
      yield* Fiber.interrupt(first)
      expect(yield* Fiber.join(second)).toBe(1)
    })
  )
})

describe("law 3: an interrupted borrower is gone at once", () => {
  // psycopg #1345, and effect's own Pool.get, which can't be timed out while a connect is in flight.
  it.scoped("whatever the connect does, and that connect serves the next one", () =>
    Effect.gen(function* () {
      const server = new Server()
      const go = yield* Deferred.make<void>()
      server.opening = Effect.uninterruptible(Deferred.await(go))
      const pool = yield* server.pool({ max: 1 })
      const borrower = yield* Effect.fork(pool.use(id))
      yield* settle
      const exit = yield* Fiber.interrupt(borrower)
      expect(Exit.isFailure(exit) && Cause.isInterruptedOnly(exit.cause)).toBe(true)
      const next = yield* Effect.fork(pool.use(id))
      yield* settle
      yield* Deferred.succeed(go, undefined)
      expect(yield* Fiber.join(next)).toBe(1)
      expect(server.attempts).toBe(1)
    })
  )

  it.scoped("whatever a check does", () =>
    Effect.gen(function* () {
      const pool = yield* new Server().pool({ max: 1, check: () => Effect.never, checkAfter: 0 })
      yield* pool.use(id)
      const borrower = yield* Effect.fork(pool.use(id))
      yield* settle
      expect(pool.unsafeStats().checking).toBe(1)
      yield* Fiber.interrupt(borrower)
      expect(pool.unsafeStats().waiting).toBe(0)
    })
  )
})

describe("law 4: nobody is forgotten", () => {
  // bb8 #167, boost.mysql #509: a failed connect woke nobody; the waiters hung until somebody else came.
  it.scoped("after a failed connect the waiter is served by the next attempt, though nobody else comes", () =>
    Effect.gen(function* () {
      const server = new Server()
      server.opening = Effect.fail(refused)
      const pool = yield* server.pool()
      const borrower = yield* Effect.fork(pool.use(id))
      yield* settle
      server.opening = Effect.void
      yield* TestClock.adjust("250 millis")
      expect(yield* Fiber.join(borrower)).toBe(1)
    })
  )

  it.scoped("nor is a waiter left beside a slot that an invalidated resource has freed", () =>
    Effect.gen(function* () {
      const pool = yield* new Server().pool({ max: 1 })
      const scope = yield* Scope.make()
      const resource = yield* Scope.extend(pool.get, scope)
      const borrower = yield* Effect.fork(pool.use(id))
      yield* settle
      yield* pool.invalidate(resource)
      yield* Scope.close(scope, Exit.void)
      expect(yield* Fiber.join(borrower)).toBe(2)
    })
  )
})

describe("law 5: first come, first served", () => {
  // asyncpg #1247, HikariCP #1909; effect's semaphore lets newcomers in first.
  it.scoped("a newcomer that asks in the moment of a release comes after those who wait", () =>
    Effect.gen(function* () {
      const pool = yield* new Server().pool({ max: 1 })
      const served: Array<string> = []
      const serve = (name: string) => pool.use(() => Effect.sync(() => served.push(name)))
      const scope = yield* Scope.make()
      yield* Scope.extend(pool.get, scope)
      const waiters = yield* Effect.forEach(["a", "b", "c"], (name) => Effect.fork(serve(name)))
      yield* settle
      yield* Scope.close(scope, Exit.void)
      yield* serve("newcomer")
      yield* Fiber.joinAll(waiters)
      expect(served).toEqual(["a", "b", "c", "newcomer"])
    })
  )
})

describe("law 7: the oldest waiter gets whatever comes first", () => {
  // effect's Pool ties a waiter to its own, slow connect.
  it.scoped("be it opened for another", () =>
    Effect.gen(function* () {
      const server = new Server()
      server.opening = Effect.sleep("4 seconds")
      const pool = yield* server.pool({ max: 2 })
      const first = yield* Effect.fork(pool.use(id))
      yield* settle
      server.opening = Effect.void
      const second = yield* Effect.fork(pool.use(() => Effect.never))
      yield* settle
      // The second connect was ready at once, and served the first.
      expect(yield* Fiber.join(first)).toBe(1)
      expect(pool.unsafeStats()).toMatchObject({ leased: 1, connecting: 1 })
      yield* Fiber.interrupt(second)
    })
  )
})

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

describe("law 18: a fiber doesn't wait for itself", () => {
  // asyncpg #5, pgx #713: with one connection, a query inside a transaction's callback hung for ever, silently.
  it.scoped("but is told at once when it holds all there is", () =>
    Effect.gen(function* () {
      const pool = yield* new Server().pool({ max: 1 })
      const nested = pool.use(() => pool.use(id))
      const error = yield* Effect.flip(nested)
      expect(error).toMatchObject({ _tag: "NestedAcquire", held: 1, max: 1 })
      expect(error.message).toMatch(/already holds 1 of 1.*give it back first, or raise max/)
      expect(yield* pool.use(id)).toBe(1)
    })
  )

  it.scoped("and waits as others do when somebody else holds the rest", () =>
    Effect.gen(function* () {
      const pool = yield* new Server().pool({ max: 2 })
      yield* hold(pool, Effect.sleep("1 second"))
      const nested = yield* Effect.fork(pool.use(() => pool.use(id)))
      yield* settle
      expect(pool.unsafeStats().waiting).toBe(1)
      yield* TestClock.adjust("1 second")
      expect(yield* Fiber.join(nested)).toBe(1)
    })
  )
})

describe("law 19: one deadline for the whole wait", () => {
  // mysql2 #4498, psycopg #709: each retry had a deadline of its own.
  it.scoped("however many attempts are made within it", () =>
    Effect.gen(function* () {
      const server = new Server()
      server.opening = Effect.zipRight(Effect.sleep("700 millis"), Effect.fail(refused))
      const pool = yield* server.pool({ acquireTimeout: "10 seconds", unavailableAfter: Duration.infinity })
      const borrower = yield* Effect.fork(Effect.flip(pool.use(id)))
      yield* settle
      yield* TestClock.adjust("9999 millis")
      expect(borrower.unsafePoll()).toBeNull()
      expect(server.attempts).toBeGreaterThan(3)
      yield* TestClock.adjust("1 millis")
      expect(yield* Fiber.join(borrower)).toMatchObject({ _tag: "AcquireTimeout", waited: 10_000, cause: refused })
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
      const server = new Server()
      const pool = yield* server.pool()
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
    })
  )
})
