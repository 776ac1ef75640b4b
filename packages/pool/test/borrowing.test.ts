/**
 * What becomes of a resource between being lent and being lent again.
 */
import { PoolEvent } from "@checkpool/pool"
import { describe, expect, it } from "@effect/vitest"
import { Context, Deferred, Effect, Exit, Fiber, TestClock } from "effect"
import { hold, id, recorder, Server, settle } from "./server.ts"

describe("a borrowed resource", () => {
  it.scoped("is the one that was used last, so that those beyond need grow cold", () =>
    Effect.gen(function* () {
      const pool = yield* new Server().pool({ start: "min", min: 3 })
      const first = yield* pool.use(id)
      expect(yield* pool.use(id)).toBe(first)
    })
  )

  it.scoped("is given back when its user fails, dies or is interrupted", () =>
    Effect.gen(function* () {
      const pool = yield* new Server().pool({ max: 1 })
      for (const end of [Effect.fail("no"), Effect.die("no"), Effect.interrupt]) {
        expect(Exit.isFailure(yield* Effect.exit(pool.use(() => end)))).toBe(true)
        expect(Exit.isFailure(yield* Effect.exit(Effect.scoped(Effect.zipRight(pool.get, end))))).toBe(true)
      }
      expect(yield* pool.use(id)).toBe(1)
    })
  )

  it.scoped("is used without being interrupted by who masks, except where that is restored", () =>
    Effect.gen(function* () {
      const pool = yield* new Server().pool({ max: 1 })
      const log: Array<string> = []
      const begun = yield* Deferred.make<void>()
      const goOn = yield* Deferred.make<void>()
      const user = yield* Effect.fork(
        pool.useMask((_, restore) =>
          Effect.gen(function* () {
            yield* Deferred.succeed(begun, undefined)
            yield* Deferred.await(goOn)
            log.push("masked")
            yield* Effect.onInterrupt(restore(Effect.never), () => Effect.sync(() => log.push("restored")))
          })
        )
      )
      yield* Deferred.await(begun)
      const interrupting = yield* Effect.fork(Fiber.interrupt(user))
      yield* settle
      expect(user.unsafePoll()).toBeNull()
      yield* Deferred.succeed(goOn, undefined)
      yield* Fiber.join(interrupting)
      expect(log).toEqual(["masked", "restored"])
      expect(yield* pool.use(id)).toBe(1)
    })
  )

  it.scoped("keeps its user's error and environment apart from the pool's", () =>
    Effect.gen(function* () {
      class Name extends Context.Tag("test/Name")<Name, string>() {}
      const pool = yield* new Server().pool()
      const greet = pool.use(() => Effect.flatMap(Name, (name) => Effect.fail(`hello ${name}` as const)))
      expect(yield* Effect.flip(Effect.provideService(greet, Name, "you"))).toBe("hello you")
    })
  )

  it.scoped("that was invalidated is closed when it is given back, and at once if it is idle", () =>
    Effect.gen(function* () {
      const server = new Server()
      const { events, observer } = recorder()
      const pool = yield* server.pool({ observer })
      yield* pool.use((resource) =>
        Effect.gen(function* () {
          yield* pool.invalidate(resource, "lent")
          yield* pool.invalidate(resource, "once more")
          expect(resource.open).toBe(true)
        })
      )
      yield* settle
      expect(server.open).toEqual([])
      const resource = yield* pool.use(Effect.succeed)
      yield* pool.invalidate(resource, "idle")
      yield* settle
      expect(server.open).toEqual([])
      expect(events.filter(PoolEvent.PoolEvent.$is("Closed")).map(({ detail, reason }) => [reason, detail])).toEqual([
        ["invalidated", "lent"],
        ["invalidated", "idle"]
      ])
      // Of one that is gone, or never was the pool's, nothing is left to do.
      yield* pool.invalidate(resource)
      yield* pool.invalidate({ id: 99, open: true })
    })
  )

  it.scoped("is closed after maxUses, at its lifetime, and after the idle timeout, each with its reason", () =>
    Effect.gen(function* () {
      const { events, observer } = recorder()
      const pool = yield* new Server().pool({
        observer,
        maxUses: 2,
        lifetime: "1 hour",
        lifetimeJitter: 0,
        idleTimeout: "10 minutes"
      })
      const reasons = () => events.flatMap((event) => (event._tag === "Closed" ? [`${event.id} ${event.reason}`] : []))
      yield* pool.use(id)
      yield* pool.use(id)
      yield* settle
      expect(reasons()).toEqual(["1 maxUses"])
      yield* pool.use(id)
      yield* TestClock.adjust("10 minutes")
      expect(reasons()).toEqual(["1 maxUses", "2 idle"])
      yield* hold(pool, Effect.sleep("2 hours"))
      yield* TestClock.adjust("2 hours")
      expect(reasons()).toEqual(["1 maxUses", "2 idle", "3 lifetime"])
    })
  )

  it.scoped("is checked before it is lent again only if it was silent for checkAfter", () =>
    Effect.gen(function* () {
      let checks = 0
      const check = () => Effect.sync(() => checks++)
      const pool = yield* new Server().pool({ check, checkAfter: "1 second" })
      yield* pool.use(id)
      yield* TestClock.adjust("999 millis")
      yield* pool.use(id)
      expect(checks).toBe(0)
      yield* TestClock.adjust("1 second")
      yield* pool.use(id)
      expect(checks).toBe(1)
    })
  )
})
