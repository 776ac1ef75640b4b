import { describe, expect, it } from "@effect/vitest"
import { Chunk, Context, Deferred, type Duration, Effect, Exit, Fiber, Layer, Scope, Stream, TestClock } from "effect"
import * as Pool from "../src/Pool.ts"
import { AcquireTimeout, findPoolError, PoolClosed } from "../src/PoolError.ts"
import type { PoolEvent } from "../src/PoolEvent.ts"
import type { PoolStats } from "../src/PoolStats.ts"
import { hold, Refused, type Resource, refused, Server, settle } from "./server.ts"

const id = (resource: Resource) => Effect.succeed(resource.id)
const tags = (events: Iterable<PoolEvent>) => Array.from(events, (event) => event._tag)

/** An observer that writes everything down. */
const recorder = () => {
  const events: Array<PoolEvent> = []
  return { events, observer: { event: (event: PoolEvent) => void events.push(event) } }
}

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
      expect(pool.unsafeStats().max).toBe(Pool.defaults.max)
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
      const pool = yield* server.pool()
      yield* pool.use((resource) =>
        Effect.gen(function* () {
          yield* pool.invalidate(resource)
          expect(resource.open).toBe(true)
        })
      )
      yield* settle
      expect(server.open).toEqual([])
      const resource = yield* pool.use(Effect.succeed)
      yield* pool.invalidate(resource)
      yield* settle
      expect(server.open).toEqual([])
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

describe("events and observers", () => {
  it.scoped("a stream tells what happens, with reasons", () =>
    Effect.gen(function* () {
      const server = new Server()
      const pool = yield* server.pool({ max: 1, maxWaiting: 0, name: "users" })
      const reader = yield* Effect.fork(Stream.runCollect(pool.events))
      yield* settle
      yield* pool.use(() => Effect.flip(pool.use(id)))
      yield* hold(pool, Effect.sleep("1 second"))
      yield* Effect.flip(pool.use(id))
      yield* TestClock.adjust("1 second")
      yield* pool.resize({ max: 2 })
      yield* pool.expire
      yield* settle
      yield* pool.drain()
      const events = yield* Fiber.join(reader)
      expect(tags(events)).toEqual(["Opened", "Saturated", "Relieved", "Resized", "Closed", "Draining", "Drained"])
      expect(Chunk.unsafeGet(events, 0)).toEqual({ _tag: "Opened", pool: "users", id: 1, took: 0, total: 1 })
      expect(Chunk.unsafeGet(events, 4)).toMatchObject({ reason: "expired", age: 1_000, uses: 2, timedOut: false })
    })
  )

  it.scoped("an outage is told with its beginning and its end", () =>
    Effect.gen(function* () {
      const { events, observer } = recorder()
      const server = new Server()
      server.opening = Effect.fail(refused)
      const pool = yield* server.pool({ min: 1, observer })
      yield* Effect.fork(Effect.exit(pool.use(id)))
      yield* TestClock.adjust("10 seconds")
      server.opening = Effect.void
      yield* TestClock.adjust("10 seconds")
      const told = events.filter((event) => event._tag !== "ConnectFailed")
      expect(tags(told)).toEqual(["Unavailable", "Opened", "Available"])
      expect(told[0]).toMatchObject({ error: refused })
    })
  )

  it.scoped("an observer hears how long each wait and each use was", () =>
    Effect.gen(function* () {
      const waits: Array<number> = []
      const uses: Array<number> = []
      const pool = yield* new Server().pool({
        max: 1,
        observer: { acquired: (millis) => waits.push(millis), released: (millis) => uses.push(millis) }
      })
      const borrow = Effect.fork(pool.use(() => Effect.sleep("1 second")))
      yield* borrow
      yield* borrow
      yield* TestClock.adjust("2 seconds")
      yield* TestClock.adjust("2 seconds")
      expect(waits).toEqual([0, 1_000])
      expect(uses).toEqual([1_000, 1_000])
    })
  )

  it.scoped("an observer that throws changes nothing", () =>
    Effect.gen(function* () {
      const fail = () => {
        throw new Error("observer is broken")
      }
      const server = new Server()
      const pool = yield* server.pool({ max: 1, observer: { acquired: fail, released: fail, event: fail } })
      const waiter = yield* Effect.fork(pool.use(() => Effect.sleep("1 second")))
      yield* Effect.fork(pool.use(id))
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(waiter)
      expect(yield* Effect.scoped(Effect.map(pool.get, (resource) => resource.id))).toBe(1)
      yield* pool.drain()
      expect(server.open).toEqual([])
    })
  )

  it.scoped("an observer may use the pool that it observes", () =>
    Effect.gen(function* () {
      const server = new Server()
      const pool: Pool.Pool<Resource> = yield* server.pool({
        max: 1,
        observer: {
          event: (event) => {
            if (event._tag === "Opened" && event.id === 1) Effect.runSync(pool.expire)
          }
        }
      })
      yield* Effect.fork(pool.use(id))
      yield* settle
      expect(yield* pool.use(id)).toBe(2)
      expect(server.open.map((resource) => resource.id)).toEqual([2])
    })
  )

  it.scoped("a lease that is held for long is reported once, with the span of its holder", () =>
    Effect.gen(function* () {
      const { events, observer } = recorder()
      const pool = yield* new Server().pool({ leakAfter: "30 seconds", observer })
      yield* Effect.fork(
        Effect.withSpan(
          pool.use(() => Effect.never),
          "import users"
        )
      )
      yield* hold(pool)
      yield* settle
      yield* TestClock.adjust("2 minutes")
      const leaks = events.filter((event) => event._tag === "LeakSuspected")
      expect(leaks).toHaveLength(2)
      expect(leaks[0]).toMatchObject({ id: 1, held: 30_000, holder: "import users" })
      expect(leaks[1]!.holder).toMatch(/^#\d+$/)
      expect(pool.unsafeStats().leaksSuspected).toBe(2)
    })
  )
})

describe("numbers", () => {
  it.scoped("add up", () =>
    Effect.gen(function* () {
      const server = new Server()
      const pool = yield* server.pool({ max: 2, maxWaiting: 1, name: "users" })
      yield* pool.use(id)
      yield* pool.use(id)
      yield* hold(pool)
      yield* hold(pool)
      yield* Effect.fork(pool.use(id))
      yield* settle
      yield* Effect.flip(pool.use(id))
      yield* TestClock.adjust("3 seconds")
      const expected: PoolStats = {
        name: "users",
        min: 0,
        max: 2,
        total: 2,
        idle: 0,
        leased: 2,
        connecting: 0,
        checking: 0,
        resetting: 0,
        closing: 0,
        waiting: 1,
        oldestWait: 3_000,
        acquired: 4,
        reused: 2,
        reuseRate: 0.5,
        queued: 3,
        timedOut: 0,
        rejected: 1,
        opened: 2,
        closed: 0,
        connectFailures: 0,
        leaksSuspected: 0,
        atCapacity: false,
        unavailable: false
      }
      expect(yield* pool.stats).toEqual(expected)
      expect(pool.unsafeStats()).toEqual(expected)
    })
  )
})

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

  it.scoped("PoolClosed", () =>
    Effect.gen(function* () {
      const pool = yield* new Server().pool({ name: "users" })
      yield* pool.drain()
      const error = yield* Effect.flip(Effect.scoped(pool.get))
      expect(error.message).toBe('Pool "users" is closed. Use it inside the scope (or Layer) that provides it.')
    })
  )

  it("a pool's error is found inside of those that wrap it, also when causes go round in circles", () => {
    const closed = new PoolClosed({ pool: "users" })
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
