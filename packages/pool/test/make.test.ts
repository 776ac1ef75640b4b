/**
 * How a pool begins and ends.
 */
import { describe, expect, it } from "@effect/vitest"
import { Context, type Duration, Effect, Exit, Fiber, Layer, Scope, TestClock } from "effect"
import * as Pool from "../src/Pool.ts"
import * as PoolOptions from "../src/PoolOptions.ts"
import { hold, id, type Resource, refused, Server, settle } from "./server.ts"

describe("make", () => {
  const start = (options: Parameters<Server["pool"]>[0]) =>
    Effect.gen(function* () {
      const server = new Server()
      const pool = yield* server.pool(options)
      return { server, pool }
    })

  it.scoped('start "one" has one open when it returns, and the rest of the minimum after that', () =>
    Effect.gen(function* () {
      const server = new Server()
      server.opening = Effect.suspend(() => (server.attempts === 1 ? Effect.void : Effect.sleep("1 second")))
      const pool = yield* server.pool({ start: "one", min: 3 })
      expect(pool.unsafeStats()).toMatchObject({ idle: 1, connecting: 2 })
      yield* TestClock.adjust("1 second")
      expect(pool.unsafeStats()).toMatchObject({ idle: 3 })
    })
  )

  it.scoped('start "min" has the minimum open when it returns', () =>
    Effect.gen(function* () {
      const { pool } = yield* start({ start: "min", min: 7 })
      expect(pool.unsafeStats()).toMatchObject({ idle: 7, total: 7 })
    })
  )

  it.scoped('start "lazy" opens nothing before the first need, and keeps the minimum from then on', () =>
    Effect.gen(function* () {
      const { pool, server } = yield* start({ start: "lazy", min: 2 })
      yield* settle
      expect(server.attempts).toBe(0)
      yield* pool.use(id)
      yield* settle
      expect(pool.unsafeStats().idle).toBe(2)
    })
  )

  it.effect("fails with why opening failed, and leaves nothing open", () =>
    Effect.gen(function* () {
      const server = new Server()
      server.opening = Effect.suspend(() => (server.attempts === 3 ? Effect.fail(refused) : Effect.void))
      const error = yield* Effect.flip(Effect.scoped(server.pool({ start: "min", min: 3 })))
      expect(error).toBe(refused)
      expect(server.open).toEqual([])
    })
  )

  it.scoped("fails with ConnectTimeout when opening hangs", () =>
    Effect.gen(function* () {
      const server = new Server()
      server.opening = Effect.never
      const making = yield* Effect.fork(Effect.flip(server.pool({ start: "one", connectTimeout: "2 seconds" })))
      yield* settle
      yield* TestClock.adjust("2 seconds")
      const error = yield* Fiber.join(making)
      expect(error).toMatchObject({ _tag: "ConnectTimeout", took: 2_000 })
      expect(error.message).toMatch(/opening took longer than 2.00 s.*raise connectTimeout/)
    })
  )

  it.scoped("is content with less than the minimum when the other side has no more", () =>
    Effect.gen(function* () {
      const server = new Server()
      server.opening = Effect.suspend(() => (server.attempts > 2 ? Effect.fail(refused) : Effect.void))
      const pool = yield* server.pool({ start: "min", min: 5, classify: () => "capacity" })
      expect(pool.unsafeStats()).toMatchObject({ idle: 2, atCapacity: true })
    })
  )

  it.effect.each([
    [{ max: 0 }, "max", /at least 1/],
    [{ max: 1.5 }, "max", /whole number/],
    [{ max: Number.POSITIVE_INFINITY }, "max", /whole number/],
    [{ min: -1 }, "min", /at least 0/],
    [{ min: 3, max: 2 }, "min", /more than max \(2\)/],
    [{ maxWaiting: -1 }, "maxWaiting", /at least 0/],
    [{ maxConnecting: 0 }, "maxConnecting", /at least 1/],
    [{ maxUses: Number.NaN }, "maxUses", /at least 1/],
    [{ lifetimeJitter: 1.1 }, "lifetimeJitter", /between 0 and 1/],
    [{ acquireTimeout: "soon" as Duration.DurationInput }, "acquireTimeout", /a duration, such as "5 seconds"/]
  ] as const)("refuses %o", ([options, option, reason]) =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(Effect.scoped(new Server().pool({ name: "users", ...options })))
      expect(error).toMatchObject({ _tag: "InvalidPoolOptions", option })
      expect(error.message).toMatch(reason)
      expect(error.message).toMatch(/^Pool "users": option /)
    })
  )

  it.scoped("takes undefined for an option as its default", () =>
    Effect.gen(function* () {
      const { pool } = yield* start({ max: undefined, name: undefined, lifetime: undefined })
      expect(pool.unsafeStats().max).toBe(PoolOptions.defaults.max)
      expect(pool.name).toMatch(/^pool-\d+$/)
    })
  )

  it.effect("drains when its scope closes: leases have the grace, then nothing is left", () =>
    Effect.gen(function* () {
      const server = new Server()
      const scope = yield* Scope.make()
      const pool = yield* Scope.extend(server.pool({ grace: "2 seconds" }), scope)
      const borrower = yield* hold(pool, Effect.sleep("1 second"))
      yield* hold(pool)
      const closing = yield* Effect.fork(Scope.close(scope, Exit.void))
      yield* TestClock.adjust("3 seconds")
      yield* Fiber.join(closing)
      expect((yield* Fiber.await(borrower))._tag).toBe("Success")
      expect(server.open).toEqual([])
    })
  )

  it.effect("can be a layer under a tag, with a pool for each", () =>
    Effect.gen(function* () {
      class Users extends Context.Tag("test/Users")<Users, Pool.Pool<Resource>>() {}
      class Orders extends Context.Tag("test/Orders")<Orders, Pool.Pool<Resource>>() {}
      const server = new Server()
      const layers = Layer.merge(
        Pool.layer(Users, { acquire: server.acquire, name: "users" }),
        Pool.layer(Orders, { acquire: server.acquire })
      )
      const names = yield* Effect.map(Effect.all([Users, Orders]), (pools) => pools.map((pool) => pool.name)).pipe(
        Effect.provide(layers)
      )
      expect(names[0]).toBe("users")
      expect(names[1]).not.toBe("users")
      expect(server.opened).toHaveLength(2)
      expect(server.open).toEqual([])
    })
  )
})
