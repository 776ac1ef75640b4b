import { Checkpoint } from "@checkpool/checkpoint"
import { expect, it } from "@effect/vitest"
import { Effect, Random, TestClock } from "effect"

const uuid6 = /^[0-9a-f]{8}-[0-9a-f]{4}-6[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/

it.effect("ids are UUIDs of version 6 that hold the time", () =>
  Effect.gen(function* () {
    yield* TestClock.setTime(Date.UTC(2022, 1, 22, 19, 22, 22))
    const id = yield* Checkpoint.makeId
    expect(id).toMatch(uuid6)
    // The example of RFC 9562, appendix A.5.
    expect(id.slice(0, 18)).toBe("1ec9414c-232a-6b00")
  })
)

it.effect("ids grow while the clock stands still and when it is set back", () =>
  Effect.gen(function* () {
    const ids = yield* Effect.replicateEffect(Checkpoint.makeId, 20_000)
    yield* TestClock.setTime(1)
    ids.push(yield* Checkpoint.makeId)
    yield* TestClock.setTime(0)
    ids.push(yield* Checkpoint.makeId)
    yield* TestClock.adjust("1 day")
    ids.push(yield* Checkpoint.makeId)
    expect(ids).toEqual([...new Set(ids)].sort())
  })
)

it.live("ids of concurrent fibers differ and grow in real time", () =>
  Effect.gen(function* () {
    const ids = yield* Effect.all(
      Array.from({ length: 1000 }, () => Effect.zipRight(Effect.yieldNow(), Checkpoint.makeId)),
      { concurrency: "unbounded" }
    )
    expect(new Set(ids).size).toBe(1000)
    expect((yield* Checkpoint.makeId) > ids.toSorted().at(-1)!).toBe(true)
  })
)

it.effect("ids depend on nothing but clock and random numbers", () =>
  Effect.gen(function* () {
    const id = Effect.withRandom(Checkpoint.makeId, Random.make("seed"))
    const node = (id: string) => id.slice(19)
    expect(node(yield* id)).toBe(node(yield* Effect.withRandom(Checkpoint.makeId, Random.make("seed"))))
    expect(node(yield* Checkpoint.makeId)).not.toBe(node(yield* Checkpoint.makeId))
  })
)

it.effect("a new checkpoint has the present format and time, and what it is given", () =>
  Effect.gen(function* () {
    yield* TestClock.setTime(Date.UTC(2026, 0, 2, 3, 4, 5, 678))
    const { id, ...checkpoint } = yield* Checkpoint.make({ channel_values: { a: 1 }, channel_versions: { a: 1 } })
    expect(id).toMatch(uuid6)
    expect(checkpoint).toEqual({
      v: 4,
      ts: "2026-01-02T03:04:05.678Z",
      channel_values: { a: 1 },
      channel_versions: { a: 1 },
      versions_seen: {}
    })
  })
)

it("an id that has to come after another one does, whatever the clocks say", () => {
  const id = "1f0a0000-0000-6000-8000-00000000000a"
  expect(Checkpoint.after(id, "1f0a0000-0000-6000-8000-000000000009")).toBe(id)
  expect(Checkpoint.after(id, id)).toBe("1f0a0000-0000-6001-8000-00000000000a")
  expect(Checkpoint.after(id, "2f0a0000-ffff-6fff-8000-00000000000b")).toBe("2f0a0001-0000-6000-8000-00000000000a")
  expect(Checkpoint.after(id, "~")).toBe(id)
  expect(Checkpoint.after("own", "~")).toBe("own")
})
