import { describe, expect, it } from "@effect/vitest"
import { Effect, FastCheck } from "effect"
import * as Recycler from "../src/Recycler.ts"

/** A recycler that writes down that it was asked. */
type Asked = Array<number>

const kinds = ["keeps", "closes", "resets", "resets and closes", "fails", "dies"] as const

const recycler =
  (kind: (typeof kinds)[number], n: number): Recycler.Recycler<Asked> =>
  (asked) => {
    asked.push(n)
    switch (kind) {
      case "keeps":
        return Recycler.keep
      case "closes":
        return Recycler.close(n)
      case "resets":
        return Effect.sync(() => {
          asked.push(-n)
          return Recycler.keep
        })
      case "resets and closes":
        return Effect.succeed(Recycler.close(n))
      case "fails":
        return Effect.fail(n)
      case "dies":
        return Effect.die(n)
    }
  }

/** All that can be seen of a recycler: what it asked of the resource, in which order, and its verdict. */
const observe = (recycler: Recycler.Recycler<Asked>) => {
  const asked: Asked = []
  const verdict = recycler(asked, { uses: 1 })
  const exit = Effect.runSyncExit(Effect.isEffect(verdict) ? verdict : Effect.succeed(verdict))
  return { asked, exit: JSON.stringify(exit) }
}

const arbitrary = FastCheck.tuple(FastCheck.constantFrom(...kinds), FastCheck.integer({ min: 1, max: 99 })).map(
  ([kind, n]) => recycler(kind, n)
)

describe("combine", () => {
  it("is associative", () => {
    FastCheck.assert(
      FastCheck.property(arbitrary, arbitrary, arbitrary, (a, b, c) => {
        expect(observe(Recycler.combine(Recycler.combine(a, b), c))).toEqual(
          observe(Recycler.combine(a, Recycler.combine(b, c)))
        )
      })
    )
  })

  it("has always as its neutral element, on both sides", () => {
    FastCheck.assert(
      FastCheck.property(arbitrary, (a) => {
        expect(observe(Recycler.combine(Recycler.always, a))).toEqual(observe(a))
        expect(observe(Recycler.combine(a, Recycler.always))).toEqual(observe(a))
      })
    )
  })

  it("doesn't ask the second when the first closes or fails", () => {
    for (const kind of ["closes", "resets and closes", "fails", "dies"] as const) {
      expect(observe(Recycler.combine(recycler(kind, 1), recycler("keeps", 2))).asked).toEqual([1])
    }
  })

  it("costs no effect when none of both needs one", () => {
    const both = Recycler.combine(recycler("keeps", 1), recycler("closes", 2))
    expect(both([], { uses: 1 })).toEqual(Recycler.close(2))
  })
})

describe("policies", () => {
  it("closeWhen closes what its predicate holds for, with the detail", () => {
    const worn = Recycler.closeWhen<unknown>((_, { uses }) => uses > 2, "worn")
    expect(worn({}, { uses: 2 })).toEqual(Recycler.keep)
    expect(worn({}, { uses: 3 })).toEqual(Recycler.close("worn"))
  })

  it("resetWhen resets what its predicate holds for, and keeps it", () => {
    const clean = Recycler.resetWhen<{ dirty: boolean }>(
      (resource) => resource.dirty,
      (resource) =>
        Effect.sync(() => {
          resource.dirty = false
        })
    )
    expect(clean({ dirty: false }, { uses: 1 })).toEqual(Recycler.keep)
    const resource = { dirty: true }
    const verdict = clean(resource, { uses: 1 })
    expect(Effect.isEffect(verdict) && Effect.runSync(verdict)).toEqual(Recycler.keep)
    expect(resource.dirty).toBe(false)
  })
})
