/**
 * Progress and safety with many fibers under each kind of adversity: everybody is answered by their deadline, nobody
 * ever holds what another holds, the server never sees more than the maximum, and afterwards every slot is there again.
 */
import { describe, expect, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Random, TestClock } from "effect"
import type * as Pool from "../src/Pool.ts"
import * as Recycler from "../src/Recycler.ts"
import { type Refused, type Resource, refused, Server } from "./server.ts"

type Options = Parameters<Server["pool"]>[0]

interface Adversity {
  readonly options?: Options
  /** How the server's opening and closing behave. */
  readonly opening?: Effect.Effect<unknown, Refused>
  readonly closing?: Effect.Effect<unknown>
  /** What a borrower does with what it has borrowed. */
  readonly using?: (pool: Pool.Pool<Resource>, resource: Resource) => Effect.Effect<unknown, string>
  readonly interrupted?: true
}

/** One in `n` times the first, else the second. */
const rarely = <A, E, A2, E2>(n: number, first: Effect.Effect<A, E>, second: Effect.Effect<A2, E2>) =>
  Effect.flatMap(Random.nextIntBetween(0, n), (i): Effect.Effect<A | A2, E | E2> => (i === 0 ? first : second))

const pause = Effect.flatMap(Random.nextIntBetween(1, 30), (millis) => Effect.sleep(millis))
const hang = Effect.never
const stuck = Effect.uninterruptible(Effect.never)

const adversities: Record<string, Adversity> = {
  nothing: {},
  cancellation: { interrupted: true },
  "user failures": { using: () => rarely(3, Effect.fail("user"), rarely(3, Effect.die("user"), Effect.void)) },
  "broken resources": { using: (pool, resource) => rarely(3, pool.invalidate(resource), Effect.void) },
  "connect failures": { opening: rarely(2, Effect.fail(refused), pause), options: { maxUses: 3 } },
  "no more at present": {
    opening: rarely(2, Effect.fail(refused), pause),
    options: { maxUses: 3, classify: () => "capacity" }
  },
  "reset failures": {
    options: {
      recycler: Recycler.resetWhen(
        () => true,
        () => rarely(2, Effect.fail("reset"), pause)
      )
    }
  },
  "check failures": { options: { checkAfter: 0, check: () => rarely(2, Effect.fail("check"), pause) } },
  "hook failures": { options: { onAcquire: () => rarely(2, Effect.fail("hook"), pause) } },
  "connects that hang": { opening: rarely(4, hang, pause), options: { maxUses: 3, connectTimeout: "100 millis" } },
  "connects that can't even be interrupted": {
    opening: rarely(4, stuck, pause),
    options: { maxUses: 3, connectTimeout: "100 millis", closeTimeout: "100 millis" }
  },
  "closes that hang": { closing: rarely(4, hang, pause), options: { maxUses: 3, closeTimeout: "100 millis" } },
  "checks that hang": {
    options: { checkAfter: 0, checkTimeout: "50 millis", check: () => rarely(4, stuck, pause) }
  },
  "resets that hang": {
    options: {
      resetTimeout: "50 millis",
      recycler: Recycler.resetWhen(
        () => true,
        () => rarely(4, stuck, pause)
      )
    }
  }
}
adversities["all of it"] = {
  interrupted: true,
  using: (pool, resource) =>
    rarely(4, pool.invalidate(resource), rarely(4, Effect.fail("user"), rarely(4, Effect.die("user"), Effect.void))),
  opening: rarely(6, Effect.fail(refused), pause),
  options: {
    maxUses: 5,
    checkAfter: 20,
    check: () => rarely(6, hang, pause),
    checkTimeout: "50 millis",
    recycler: Recycler.resetWhen(
      () => true,
      () => rarely(6, hang, pause)
    ),
    resetTimeout: "50 millis",
    onAcquire: () => rarely(6, Effect.fail("hook"), Effect.void)
  }
}

const fibers = 200
const max = 5

// What takes their time is the test clock, which waits on real timers after each step: those of all tests can be waited for at once.
describe.concurrent("progress and safety with 200 fibers on 5 slots under", () => {
  it.scoped.each(Object.keys(adversities))("%s", (name) =>
    Effect.gen(function* () {
      const adversity = adversities[name]!
      const server = new Server()
      const pool = yield* server.pool({ max, retryBase: "10 millis", ...adversity.options })
      server.opening = adversity.opening ?? pause
      server.closing = adversity.closing ?? Effect.void
      const inUse = new Set<Resource>()
      let served = 0
      const user = pool.use((resource) =>
        Effect.suspend(() => {
          expect(resource.open && !inUse.has(resource)).toBe(true)
          inUse.add(resource)
          served++
          return Effect.zipRight(pause, adversity.using?.(pool, resource) ?? Effect.void)
        }).pipe(Effect.ensuring(Effect.sync(() => inUse.delete(resource))))
      )
      const borrow = adversity.interrupted
        ? Effect.zipRight(pause, Effect.race(user, Effect.flatMap(Random.nextIntBetween(1, 600), Effect.sleep)))
        : user
      const borrowers = yield* Effect.forEach(Array.from({ length: fibers }), () => Effect.fork(Effect.exit(borrow)))
      for (let i = 0; i < 200; i++) yield* TestClock.adjust("100 millis")

      // Progress: all are answered within their deadline, most of them with a resource.
      const exits = yield* Effect.forEach(borrowers, Fiber.poll)
      expect(exits.filter((exit) => exit._tag === "None")).toEqual([])
      expect(served).toBeGreaterThan(name === "hook failures" ? fibers / 3 : fibers / 4)

      // Safety: with the adversity over, as many as ever can be lent, each to one borrower, and no more were ever open.
      server.opening = Effect.void
      server.closing = Effect.void
      // What can't be ended is given up after closeTimeout, or a pool would stand still for ever: only then may there be more.
      if (!["closes that hang", "connects that can't even be interrupted"].includes(name)) {
        expect(server.most).toBeLessThanOrEqual(max)
      }
      yield* TestClock.adjust("10 seconds")
      expect(pool.unsafeStats()).toMatchObject({ leased: 0, waiting: 0, resetting: 0, checking: 0, closing: 0 })
      if (adversity.options === undefined) {
        for (let i = 0; i < max; i++) yield* Effect.fork(pool.use(() => Effect.never))
        yield* TestClock.adjust("1 second")
        expect(pool.unsafeStats()).toMatchObject({ leased: max, total: max })
      }
      const closing = yield* Effect.fork(pool.drain("1 second"))
      yield* TestClock.adjust("20 seconds")
      expect(Exit.isSuccess(yield* Fiber.await(closing))).toBe(true)
    }).pipe(Effect.withRandom(Random.make(name)))
  )
})
