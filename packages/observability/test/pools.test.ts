import { HealthCheck, Pools } from "@checkpool/observability"
import { Pool } from "@checkpool/pool"
import { expect, it } from "@effect/vitest"
import { Effect, Exit, Scope } from "effect"
import { eventually } from "./eventually.ts"

const poolOf = (name: string) => Pool.make({ name, acquire: Effect.succeed({}), max: 1, start: "lazy" })

it.scoped("each is told of the pools that are there and of those that come, and is done with those that go", () =>
  Effect.gen(function* () {
    const seen: Array<string> = []
    const [a, b, c] = yield* Effect.all([poolOf("a"), poolOf("b"), poolOf("c")])
    const pools = yield* Pools.make
    const [ofB, ofWatcher] = yield* Effect.all([Scope.make(), Scope.make()])
    yield* pools.add(a)
    yield* Scope.extend(
      pools.each(({ name }) =>
        Effect.zipRight(
          Effect.sync(() => seen.push(`+${name}`)),
          Effect.addFinalizer(() => Effect.sync(() => seen.push(`-${name}`)))
        )
      ),
      ofWatcher
    )
    yield* Scope.extend(pools.add(b), ofB)
    expect(pools.current().map(({ name }) => name)).toEqual(["a", "b"])
    yield* Scope.close(ofB, Exit.void)
    expect(pools.current().map(({ name }) => name)).toEqual(["a"])
    expect(seen).toEqual(["+a", "+b", "-b"])
    yield* Scope.close(ofWatcher, Exit.void)
    yield* pools.add(c)
    expect(seen).toEqual(["+a", "+b", "-b", "-a"])
  })
)

it.scoped("a pool that was added twice stays until it has gone twice", () =>
  Effect.gen(function* () {
    const pools = yield* Pools.make
    const pool = yield* poolOf("twice")
    let watched = 0
    const change = (by: number) =>
      Effect.sync(() => {
        watched += by
      })
    yield* pools.each(() => Effect.acquireRelease(change(1), () => change(-1)))
    const [one, two] = yield* Effect.all([Scope.make(), Scope.make()])
    for (const scope of [one, two]) yield* Scope.extend(pools.add(pool), scope)
    yield* Scope.close(one, Exit.void)
    expect([pools.current(), watched]).toEqual([[pool], 1])
    yield* Scope.close(two, Exit.void)
    expect([pools.current(), watched]).toEqual([[], 0])
  })
)

it.scoped("a pool that goes while a watcher is being told of others is not watched", () =>
  Effect.gen(function* () {
    const pools = yield* Pools.make
    const ofB = yield* Scope.make()
    yield* pools.add(yield* poolOf("a"))
    yield* Scope.extend(pools.add(yield* poolOf("b")), ofB)
    const seen: Array<string> = []
    yield* pools.each(({ name }) =>
      Effect.zipRight(
        Effect.sync(() => seen.push(name)),
        Scope.close(ofB, Exit.void)
      )
    )
    expect(seen).toEqual(["a"])
  })
)

it.scopedLive("health looks at a pool from when it is added until it is taken away", () =>
  Effect.gen(function* () {
    const pools = yield* Pools.make
    const health = yield* HealthCheck.make(pools)
    const pool = yield* poolOf("late")
    const added = yield* Scope.make()
    yield* Scope.extend(pools.add(pool), added)
    yield* pool.drain(0)
    yield* eventually(health.readiness, ({ problems }) => problems[0]?.problem === "closed")
    yield* Scope.close(added, Exit.void)
    expect(yield* health.readiness).toEqual({ status: "pass", problems: [] })
  })
)
