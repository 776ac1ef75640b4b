/**
 * Law 24: a failing hook closes its resource, returns the slot and reaches the caller as a typed error. In vertx's pool
 * a hook that failed left the slot taken and the caller waiting (vertx #1684).
 */
import { describe, expect, it } from "@effect/vitest"
import { Cause, Deferred, Effect, Exit, Fiber } from "effect"
import { HookError } from "../src/PoolError.ts"
import { hold, Server } from "./server.ts"

const forms = [
  ["use", (pool) => pool.use((resource) => Effect.succeed(resource.id))],
  ["get", (pool) => Effect.scoped(Effect.map(pool.get, (resource) => resource.id))]
] as const satisfies ReadonlyArray<
  readonly [string, (pool: Effect.Effect.Success<ReturnType<Server["pool"]>>) => Effect.Effect<number, unknown>]
>

describe.each(forms)("a hook before %s", (_, borrow) => {
  it.scoped("runs before each loan", () =>
    Effect.gen(function* () {
      const ran: Array<number> = []
      const onAcquire = (resource: { id: number }) => Effect.sync(() => ran.push(resource.id))
      const pool = yield* new Server().pool({ onAcquire })
      yield* borrow(pool)
      yield* borrow(pool)
      expect(ran).toEqual([1, 1])
    })
  )

  it.scoped.each([
    ["fails", Effect.fail(new Error("search_path"))],
    ["dies", Effect.die(new Error("search_path"))]
  ] as const)("that %s closes its resource, gives the slot back and is the caller's HookError", ([, first]) =>
    Effect.gen(function* () {
      const server = new Server()
      const onAcquire = (resource: { id: number }) => (resource.id === 1 ? first : Effect.void)
      const pool = yield* server.pool({ max: 1, onAcquire })
      const error = yield* Effect.flip(borrow(pool))
      expect(error).toBeInstanceOf(HookError)
      expect((error as HookError).message).toMatch(/search_path.*closed.*Try again/)
      // The only slot is free again.
      expect(yield* borrow(pool)).toBe(2)
      expect(server.open).toHaveLength(1)
    })
  )

  it.scoped("that throws is no different", () =>
    Effect.gen(function* () {
      const onAcquire = () => {
        throw new Error("hook is broken")
      }
      const pool = yield* new Server().pool({ max: 1, onAcquire })
      expect(yield* Effect.flip(borrow(pool))).toBeInstanceOf(HookError)
      expect(pool.unsafeStats().leased).toBe(0)
    })
  )

  it.scoped("that hangs can be interrupted; its resource, in an unknown state, is closed", () =>
    Effect.gen(function* () {
      const server = new Server()
      const begun = yield* Deferred.make<void>()
      const onAcquire = (resource: { id: number }) =>
        resource.id === 1 ? Effect.zipRight(Deferred.succeed(begun, undefined), Effect.never) : Effect.void
      const pool = yield* server.pool({ max: 1, onAcquire })
      const borrower = yield* Effect.fork(borrow(pool))
      yield* Deferred.await(begun)
      const exit = yield* Fiber.interrupt(borrower)
      expect(Exit.isFailure(exit) && Cause.isInterruptedOnly(exit.cause)).toBe(true)
      expect(yield* borrow(pool)).toBe(2)
    })
  )

  it.scoped("also runs for whoever had to wait", () =>
    Effect.gen(function* () {
      const ran: Array<number> = []
      const onAcquire = (resource: { id: number }) => Effect.sync(() => ran.push(resource.id))
      const pool = yield* new Server().pool({ max: 1, onAcquire })
      const holder = yield* hold(pool)
      const waiter = yield* Effect.fork(borrow(pool))
      yield* Effect.yieldNow()
      yield* Fiber.interrupt(holder)
      yield* Fiber.join(waiter)
      expect(ran).toEqual([1, 1])
    })
  )
})
