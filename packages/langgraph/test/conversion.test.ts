import { Checkpointer } from "@checkpool/checkpoint"
import { describe, expect, it } from "@effect/vitest"
import { compareChannelVersions, compareWritesSortKeys, WRITES_IDX_MAP } from "@langchain/langgraph-checkpoint"
import { Effect, FastCheck, Option } from "effect"
import * as Conversion from "../src/internal/conversion.ts"
import * as Versions from "../src/internal/versions.ts"

const id = FastCheck.string({ minLength: 1, maxLength: 8 })
const key = FastCheck.record({ threadId: id, namespace: FastCheck.string(), checkpointId: id })

describe("configurations", () => {
  it.prop("name a checkpoint, and are named by it", { key }, ({ key }) => {
    expect(Conversion.named(Conversion.configOf(key))).toEqual(key)
  })

  it.prop("have no more in them than its three parts", { key }, ({ key }) => {
    expect(Object.keys(Conversion.configOf(key))).toEqual(["configurable"])
    expect(Object.keys(Conversion.configOf(key).configurable!).sort()).toEqual([
      "checkpoint_id",
      "checkpoint_ns",
      "thread_id"
    ])
  })

  it("may name the latest checkpoint by an id that is missing, null or empty, as with the stock saver", () => {
    for (const checkpoint_id of [undefined, null, ""]) {
      expect(Conversion.named({ configurable: { thread_id: "t", checkpoint_id } }).checkpointId).toBeUndefined()
    }
  })

  it("may number their threads", () => {
    expect(Conversion.toGet({ configurable: { thread_id: 1 } })).toMatchObject({ threadId: "1" })
  })

  it("that name no thread find nothing and list all threads", () => {
    expect(Conversion.toGet({})).toBeUndefined()
    expect(Conversion.toGet({ configurable: { checkpoint_ns: "" } })).toBeUndefined()
    expect(Conversion.toList({}).threadId).toBeUndefined()
    expect(Conversion.toList(undefined).threadId).toBeUndefined()
  })
})

describe("metadataFrom", () => {
  const metadata = { source: "loop" as const, step: 1, parents: {} }

  it("takes the keys from configurable, else from metadata", () => {
    const config = { configurable: { user: "ada", tenant: null }, metadata: { user: "bob", tenant: 7 } }
    expect(Conversion.withMetadataFrom(config, metadata, ["user", "tenant", "other"])).toEqual({
      ...metadata,
      user: "ada",
      tenant: 7
    })
  })

  it("does not touch what the graph says", () => {
    expect(Conversion.withMetadataFrom({ configurable: { step: 9 } }, metadata, ["step"])).toEqual(metadata)
  })
})

const task = FastCheck.record({
  taskId: FastCheck.constantFrom("a", "b", "\u{1F600}", "\uFFFF"),
  taskPath: FastCheck.constantFrom("", "~__pregel_pull, a", "~__pregel_push, \u{1F600}", "\uFFFF"),
  writes: FastCheck.array(
    FastCheck.tuple(FastCheck.constantFrom("x", "y", "__error__", "__interrupt__", "__resume__"), FastCheck.integer()),
    { maxLength: 4 }
  )
})

describe("pending writes", () => {
  it.effect.prop(
    "come back in the order in which live execution applies them, the special ones at their own places",
    { tasks: FastCheck.uniqueArray(task, { selector: ({ taskId }) => taskId, maxLength: 4 }) },
    ({ tasks }) =>
      Effect.gen(function* () {
        const checkpointer = yield* Checkpointer.makeMemory
        const config = { configurable: { thread_id: "t", checkpoint_id: "1" } }
        const checkpoint = { v: 4, id: "1", ts: "", channel_values: {}, channel_versions: {}, versions_seen: {} }
        yield* checkpointer.put({ threadId: "t", checkpoint, metadata: {}, newVersions: {} })
        const expected: Array<readonly [sort: readonly [string, string, number], channel: string, value: number]> = []
        for (const { taskId, taskPath, writes } of tasks) {
          const options = Conversion.toPutWrites(config, writes, taskId, taskPath)
          if (options instanceof Error) throw options
          yield* checkpointer.putWrites(options)
          const byIndex = new Map(writes.map(([channel, value], i) => [WRITES_IDX_MAP[channel] ?? i, [channel, value]]))
          for (const [index, [channel, value]] of byIndex) {
            expected.push([[taskPath, taskId, index], channel as string, value as number])
          }
        }
        const tuple = Conversion.fromTuple(Option.getOrThrow(yield* checkpointer.get({ threadId: "t" })))
        expect(tuple.pendingWrites).toEqual(
          expected
            .sort(([a], [b]) => compareWritesSortKeys(a, b))
            .map(([[, taskId], channel, value]) => [taskId, channel, value])
        )
      })
  )
})

describe("versions", () => {
  const random = FastCheck.double({ min: 0, max: 1, maxExcluded: true, noNaN: true })
  // A double has room for all of the random part up to here: a million steps of one thread.
  const whole = FastCheck.integer({ min: 0, max: 2 ** 20 })

  it.prop(
    "of numbers grow by one to two, and never are the whole number that another saver writes",
    [whole, random],
    ([current, r]) => {
      const next = Versions.next(current, () => r) as number
      expect(next).toBeGreaterThan(current + 1)
      expect(next).toBeLessThan(current + 2)
      // The stock saver counts on from there.
      expect(compareChannelVersions(next + 1, next)).toBe(1)
    }
  )

  it.prop("differ between two branches", [whole, random, random], ([n, a, b]) => {
    FastCheck.pre(Math.floor(a * (2 ** 32 - 1)) !== Math.floor(b * (2 ** 32 - 1)))
    expect(Versions.next(n, () => a)).not.toBe(Versions.next(n, () => b))
  })

  it.prop("are the same after a way through text and JSON", [whole, random], ([current, r]) => {
    const next = Versions.next(current, () => r)
    expect(Number(String(next))).toBe(next)
    expect(JSON.parse(JSON.stringify(next))).toBe(next)
  })

  it("begin with one", () => {
    expect(Versions.next(undefined, () => 0)).toBe(1 + 2 ** -32)
    expect(Versions.next(undefined, () => 1 - 2 ** -53)).toBe(2 - 2 ** -32)
  })

  it.prop(
    "of strings go on in the form of the Python savers",
    [FastCheck.bigInt({ min: 0n, max: 10n ** 20n }), random],
    ([n, r]) => {
      const current = `${String(n).padStart(32, "0")}.0.8731`
      const next = Versions.next(current, () => r) as string
      expect(next).toMatch(/^\d{32}\.\d{16}$/)
      expect(BigInt(next.slice(0, 32))).toBe(n + 1n)
      expect(compareChannelVersions(next, current)).toBe(1)
      expect(next > current).toBe(true)
    }
  )

  it("of an unknown kind are not made up", () => {
    expect(() => Versions.next("v7", Math.random)).toThrow("can't count on from the version")
  })
})
