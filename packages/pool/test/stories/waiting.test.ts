/**
 * Failures that are on record in other pools' trackers, told to this one: who waits, for what, and for how long. The numbers are
 * those of the pool's laws, as the README lists them.
 */
import { describe, expect, it } from "@effect/vitest"
import { Cause, Deferred, Duration, Effect, Exit, Fiber, Scope, TestClock } from "effect"
import { hold, id, refused, Server, settle } from "../server.ts"

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
