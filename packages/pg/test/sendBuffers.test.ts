import { describe, expect, it } from "@effect/vitest"
import * as SendBuffers from "../src/internal/sendBuffers.ts"

describe("memory for large messages", () => {
  it("is of the size that was asked for, and used again once it was given back", () => {
    const first = SendBuffers.take(20_000)
    expect(first.length).toBe(20_000)
    const second = SendBuffers.take(20_000)
    expect(second.buffer).not.toBe(first.buffer)
    SendBuffers.giveBack(first)
    const third = SendBuffers.take(17_000)
    expect(third.length).toBe(17_000)
    expect(third.buffer).toBe(first.buffer)
    expect(SendBuffers.take(17_000).buffer).not.toBe(first.buffer)
  })

  it("is not kept beyond 8 MiB, and not where others share it", () => {
    const many = Array.from({ length: 5 }, () => SendBuffers.take(2 ** 21))
    many.forEach(SendBuffers.giveBack)
    const again = Array.from({ length: 5 }, () => SendBuffers.take(2 ** 21))
    expect(again.filter(({ buffer }) => many.some((each) => each.buffer === buffer)).length).toBeLessThan(5)
    const small = SendBuffers.take(100)
    SendBuffers.giveBack(small)
    expect(SendBuffers.take(2 ** 14).buffer).not.toBe(small.buffer)
  })
})
