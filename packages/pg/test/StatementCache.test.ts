import { describe, expect, it } from "@effect/vitest"
import { StatementCache } from "../src/internal/statementCache.ts"
import { Turn } from "../src/internal/turn.ts"

describe("StatementCache", () => {
  it("names a text once, and gives up the least recently used beyond its limit", () => {
    const cache = new StatementCache(2)
    const a = cache.nameOf("a")
    const b = cache.nameOf("b")
    expect(cache.nameOf("a")).toBe(a)
    cache.nameOf("c")
    expect(cache.takeExcess()).toEqual([b])
    expect(cache.takeExcess()).toEqual([])
    expect(cache.nameOf("b")).not.toBe(b)
  })

  it("caches nothing with a limit of 0", () => {
    expect(new StatementCache(0).nameOf("a")).toBeUndefined()
  })
})

describe("Turn", () => {
  it("starts one at a time, in the order of arrival, and skips who has left", () => {
    const turn = new Turn()
    const started: Array<string> = []
    const starter = (name: string) => () => void started.push(name)
    const second = starter("second")
    turn.enter(starter("first"))
    turn.enter(second)
    turn.enter(starter("third"))
    expect(started).toEqual(["first"])
    turn.leave(second)
    turn.pass()
    expect(started).toEqual(["first", "third"])
    expect(turn.free).toBe(false)
    turn.pass()
    expect(turn.free).toBe(true)
  })
})
