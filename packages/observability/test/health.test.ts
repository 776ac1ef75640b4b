import { HealthCheck } from "@checkpool/observability"
import { Pool, type PoolOptions } from "@checkpool/pool"
import { HttpClient, HttpLayerRouter } from "@effect/platform"
import { NodeHttpServer } from "@effect/platform-node"
import { expect, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Layer, Scope, TestClock } from "effect"
import { eventually } from "./eventually.ts"

/** A pool of one thing that can be opened as long as `up` is true. */
const poolOf = (server: { up: boolean }, options: Partial<PoolOptions.Options<object, string, never>> = {}) =>
  Pool.make({
    name: "things",
    acquire: Effect.suspend(() => (server.up ? Effect.succeed({}) : Effect.fail("down"))),
    max: 1,
    maxWaiting: 1,
    start: "lazy",
    ...options
  })

const ready = { status: "pass", problems: [] }

it.scoped("is ready while the pool can lend", () =>
  Effect.gen(function* () {
    const pool = yield* poolOf({ up: true })
    const health = yield* HealthCheck.make([pool])
    expect(yield* health.readiness).toEqual(ready)
    yield* pool.use(() => Effect.void)
    expect(yield* health.readiness).toEqual(ready)
    expect(yield* health.liveness).toEqual(ready)
  })
)

it.scoped("says that a pool is down, and since when, until it is up again", () =>
  Effect.gen(function* () {
    const server = { up: false }
    const pool = yield* poolOf(server, { unavailableAfter: "3 seconds" })
    const health = yield* HealthCheck.make([pool])
    yield* Effect.fork(Effect.ignore(pool.use(() => Effect.void)))
    yield* TestClock.adjust("20 seconds")
    const report = yield* health.readiness
    expect(report.problems).toMatchObject([
      { problem: "down", pool: "things", since: "1970-01-01T00:00:00.000Z", seconds: 20 }
    ])
    expect(report.problems[0]!.message).toBe(`Pool "things" can't connect to its server, for 20 s`)
    expect(yield* health.liveness).toEqual(ready)
    server.up = true
    // Nobody uses the pool; that somebody asks is enough to have it try again.
    yield* health.readiness
    yield* TestClock.adjust("10 seconds")
    expect(yield* health.readiness).toEqual(ready)
  })
)

it.scoped("says that a pool is saturated: with a full queue at once, with an old waiter after a while", () =>
  Effect.gen(function* () {
    const pool = yield* poolOf({ up: true }, { acquireTimeout: "1 minute" })
    const health = yield* HealthCheck.make([pool], { saturatedAfter: "5 seconds" })
    yield* Effect.fork(pool.use(() => Effect.sleep("30 seconds")))
    yield* TestClock.adjust("1 second")
    const waiter = yield* Effect.fork(pool.use(() => Effect.void))
    yield* TestClock.adjust("4 seconds")
    expect(yield* health.readiness).toEqual(ready)
    yield* TestClock.adjust("1 second")
    expect((yield* health.readiness).problems).toMatchObject([
      { problem: "saturated", since: "1970-01-01T00:00:01.000Z", seconds: 5 }
    ])
    yield* TestClock.adjust("30 seconds")
    yield* Fiber.join(waiter)
    expect(yield* health.readiness).toEqual(ready)
    yield* Effect.fork(pool.use(() => Effect.sleep("30 seconds")))
    yield* TestClock.adjust(0)
    yield* Effect.fork(pool.use(() => Effect.void))
    yield* TestClock.adjust(0)
    expect(yield* health.readiness).toEqual(ready)
    expect(yield* Effect.flip(pool.use(() => Effect.void))).toMatchObject({ _tag: "PoolSaturated" })
    yield* TestClock.adjust(0)
    expect((yield* health.readiness).problems).toMatchObject([{ problem: "saturated", seconds: 0 }])
    yield* TestClock.adjust("30 seconds")
    expect(yield* health.readiness).toEqual(ready)
  })
)

it.scoped("says that a pool drains, and that it is closed, also if it was before", () =>
  Effect.gen(function* () {
    const pool = yield* poolOf({ up: true })
    const health = yield* HealthCheck.make([pool])
    yield* Effect.fork(pool.use(() => Effect.sleep("10 seconds")))
    yield* TestClock.adjust("1 second")
    const drain = yield* Effect.fork(pool.drain("1 minute"))
    yield* TestClock.adjust("1 second")
    expect((yield* health.readiness).problems).toMatchObject([{ problem: "draining", seconds: 1 }])
    yield* TestClock.adjust("9 seconds")
    yield* Fiber.join(drain)
    yield* TestClock.adjust(0)
    expect((yield* health.readiness).problems).toMatchObject([{ problem: "closed" }])
    const late = yield* HealthCheck.make([pool])
    yield* TestClock.adjust(0)
    expect((yield* late.readiness).problems).toMatchObject([{ problem: "closed" }])
  })
)

it.live("routes answer 200 and 503; on the way down it is not ready first, and still answers", () =>
  Effect.gen(function* () {
    const scope = yield* Scope.make()
    const pool = yield* Scope.extend(poolOf({ up: true }), scope)
    const server = HttpLayerRouter.serve(HealthCheck.routes, { disableLogger: true }).pipe(
      Layer.provideMerge(HealthCheck.layerPools([pool])),
      Layer.provideMerge(NodeHttpServer.layerTest)
    )
    const stopping = HealthCheck.layerShutdown("1 second").pipe(Layer.provideMerge(server))
    const context = yield* Layer.buildWithScope(stopping, scope)
    const status = (path: string) =>
      Effect.map(HttpClient.get(path), ({ headers, status }) => [status, headers["cache-control"]]).pipe(
        Effect.scoped,
        Effect.provide(context)
      )
    expect(yield* status("/health/live")).toEqual([200, "no-store"])
    expect(yield* status("/health/ready")).toEqual([200, "no-store"])
    const closing = yield* Effect.fork(Scope.close(scope, Exit.void))
    yield* eventually(status("/health/ready"), ([status]) => status === 503)
    expect(yield* status("/health/live")).toEqual([200, "no-store"])
    // The pool ends last.
    expect(yield* pool.use(() => Effect.succeed("lent"))).toBe("lent")
    yield* Fiber.join(closing)
    expect(yield* Effect.flip(pool.use(() => Effect.void))).toMatchObject({ _tag: "PoolClosed" })
  }).pipe(Effect.scoped)
)
