/**
 * What callers are told.
 */
import { describe, expect, it } from "@effect/vitest"
import { Effect, Fiber, TestClock } from "effect"
import { AcquireTimeout, findPoolError, PoolClosed } from "../src/PoolError.ts"
import { hold, id, Refused, refused, Server } from "./server.ts"

describe("errors say what happened, for how long, and what to try", () => {
  it.scoped("AcquireTimeout", () =>
    Effect.gen(function* () {
      const pool = yield* new Server().pool({ max: 1, acquireTimeout: "1500 millis", name: "users" })
      yield* hold(pool)
      const first = yield* Effect.fork(Effect.flip(pool.use(id)))
      yield* TestClock.adjust("1 second")
      yield* Effect.fork(Effect.exit(pool.use(id)))
      yield* TestClock.adjust("500 millis")
      const error = yield* Fiber.join(first)
      expect(error).toMatchObject({ waited: 1_500, waiting: 1, oldestWait: 500, max: 1, leased: 1, connecting: 0 })
      expect(error.message).toBe(
        'Pool "users": nothing became free within 1.50 s (1 of 1 lent, 0 being opened, 1 more waiting, the oldest for ' +
          "0.50 s). Hold connections for shorter, raise max, or raise acquireTimeout."
      )
    })
  )

  it.scoped("PoolSaturated", () =>
    Effect.gen(function* () {
      const pool = yield* new Server().pool({ max: 1, maxWaiting: 1, name: "users" })
      yield* hold(pool)
      yield* Effect.fork(pool.use(id))
      yield* TestClock.adjust("2 seconds")
      const error = yield* Effect.flip(pool.use(id))
      expect(error).toMatchObject({ _tag: "PoolSaturated", waiting: 1, max: 1, oldestWait: 2_000, retryAfter: 2_000 })
      expect(error.message).toBe(
        'Pool "users" is saturated: all 1 are taken and 1 callers wait, the oldest for 2.00 s. ' +
          "Try again in about 2.00 s, shed load, or raise maxWaiting or max."
      )
    })
  )

  it.scoped("PoolUnavailable, which ends with the outage", () =>
    Effect.gen(function* () {
      const server = new Server()
      server.opening = Effect.fail(refused)
      const pool = yield* server.pool({ name: "users", min: 1 })
      const first = yield* Effect.fork(Effect.flip(pool.use(id)))
      yield* TestClock.adjust("4 seconds")
      yield* Fiber.join(first)
      const error = yield* Effect.flip(pool.use(id))
      expect(error).toMatchObject({ _tag: "PoolUnavailable", cause: refused, since: 4_000 })
      expect(error.message).toMatch(
        /is unavailable: opening has been failing for 4.00 s \(\d times in a row\). Opening last failed with: connection refused. The next attempt is due in \d\.\d\d s; see to the cause/
      )
      server.opening = Effect.void
      yield* TestClock.adjust("5 seconds")
      expect(yield* pool.use(id)).toBe(1)
    })
  )

  it.scoped("a reason that time won't mend is told to the first who asks", () =>
    Effect.gen(function* () {
      const server = new Server()
      server.opening = Effect.fail(refused)
      const pool = yield* server.pool({ classify: () => "fatal" })
      expect(yield* Effect.flip(pool.use(id))).toMatchObject({ _tag: "PoolUnavailable", cause: refused, since: 0 })
    })
  )

  it.scoped("which of them is the cause of another", () =>
    Effect.gen(function* () {
      const server = new Server()
      server.opening = Effect.never
      const pool = yield* server.pool({ name: "users", connectTimeout: "4 seconds" })
      const borrower = yield* Effect.fork(Effect.flip(pool.use(id)))
      yield* TestClock.adjust("4 seconds")
      expect((yield* Fiber.join(borrower)).message).toMatch(
        /\(1 times in a row\). Opening last failed with: Pool "users": opening took longer .* or raise connectTimeout. The/
      )
    })
  )

  it.scoped("PoolClosed", () =>
    Effect.gen(function* () {
      const pool = yield* new Server().pool({ name: "users" })
      yield* pool.drain()
      yield* TestClock.adjust("3 seconds")
      const error = yield* Effect.flip(Effect.scoped(pool.get))
      expect(error).toMatchObject({ since: 3_000 })
      expect(error.message).toBe(
        'Pool "users" began to close 3.00 s ago and lends nothing any more. ' +
          "Use it inside the scope (or Layer) that provides it."
      )
    })
  )

  it("a pool's error is found inside of those that wrap it, also when causes go round in circles", () => {
    const closed = new PoolClosed({ pool: "users", since: 0 })
    expect(findPoolError({ cause: { cause: closed } })).toBe(closed)
    const round: { cause?: unknown } = {}
    round.cause = { cause: round }
    expect(findPoolError(round)).toBeUndefined()
    expect(findPoolError(new Refused("no"))).toBeUndefined()
    const timeout = { waited: 1, waiting: 0, oldestWait: 0, max: 1, leased: 1, connecting: 0 }
    expect(new AcquireTimeout({ pool: "users", ...timeout }).message).not.toMatch(/Opening last failed/)
    expect(new AcquireTimeout({ pool: "users", ...timeout, cause: refused }).message).toMatch(/connection refused/)
  })
})
