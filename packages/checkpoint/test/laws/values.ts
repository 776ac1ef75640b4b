import { Checkpoint, type Checkpointer } from "@checkpool/checkpoint"
import { expect, type Vitest } from "@effect/vitest"
import { Effect, Either, FastCheck as fc, Option } from "effect"
import { anything } from "../anything.ts"
import { checkpoint, commit, get, getSome, put } from "./use.ts"

/** Values and metadata come back as they were, or are refused. */
export const values = (it: Vitest.MethodsNonLive<Checkpointer.Checkpointer>) => {
  it.effect("keeps every kind of value that it takes, and gives copies", () =>
    Effect.gen(function* () {
      const threadId = yield* Checkpoint.makeId
      const channel_values = {
        strings: ["", "\0", "\uD800", "a\uDC00b", "🎈", '\\u0000"', "\u2028"],
        numbers: [0, -0, 1e308, 5e-324, -1.5, Number.MAX_SAFE_INTEGER, Infinity, -Infinity, 0.1],
        undefined: undefined,
        inside: { a: undefined, b: [undefined, null], c: false },
        map: new Map<unknown, unknown>([
          ["k", new Map([[{ deep: 1 }, new Set(["x", -0])]])],
          [1, undefined]
        ]),
        bytes: Uint8Array.of(1, 2, 255),
        nested: { bytes: Uint8Array.of(0, 128) },
        regexp: /a\/"b/giu,
        empty: [{}, [], ""],
        "": "a channel without a name",
        ["__proto__"]: { polluted: true },
        "weird 'name\" {},\\": 1,
        long: "x".repeat(100_000)
      }
      const channel_versions = Object.fromEntries(Object.keys(channel_values).map((channel, i) => [channel, i]))
      const saved = checkpoint("1", { channel_values, channel_versions })
      yield* put({ threadId, checkpoint: saved })
      const read = (yield* getSome({ threadId })).checkpoint.channel_values
      expect(read).toStrictEqual(channel_values)
      expect(Object.hasOwn(read, "undefined")).toBe(true)
      channel_values.bytes[0] = 9
      expect((yield* getSome({ threadId })).checkpoint.channel_values.bytes).toEqual(Uint8Array.of(1, 2, 255))
    })
  )

  it.effect("keeps metadata that JSONB can't hold as it is", () =>
    Effect.gen(function* () {
      const threadId = yield* Checkpoint.makeId
      const all: ReadonlyArray<Checkpoint.Metadata> = [
        {},
        { text: "a\0b", "key\0": 1, "key\uFFFD": 2 },
        { half: ["\uD800", "\uDFFF\uD800"], step: 1 },
        { zero: -0, list: [-0, 0, "-0", ",-0,"] },
        { escaped: "\\u0000", quoted: '"\\ud800' },
        { __checkpool_exact: "{}", other: "\0" },
        { __checkpool_exact: '{"other":1}', other: 1 },
        { nested: { __checkpool_exact: 1 } },
        { ["__proto__"]: "\0" },
        { huge: [Infinity, 1e308, "\0"] },
        { undefined: undefined, map: new Map([["a", 1]]) }
      ]
      for (const [i, metadata] of all.entries()) {
        yield* put({ threadId, checkpoint: checkpoint(`${i}`), metadata })
        expect((yield* getSome({ threadId, checkpointId: `${i}` })).metadata).toStrictEqual(metadata)
      }
    })
  )

  it.effect("refuses values that would be lost, names the channel and path, and writes nothing", () =>
    Effect.gen(function* () {
      const threadId = yield* Checkpoint.makeId
      const cycle: Record<string, unknown> = {}
      cycle.self = [cycle]
      class Money {
        readonly amount = 1
      }
      const refused: ReadonlyArray<readonly [value: unknown, path: ReadonlyArray<string | number>]> = [
        [1n, []],
        [{ a: [0, { b: 2n }] }, ["a", 1, "b"]],
        [{ when: new Date(0) }, ["when"]],
        [[Number.NaN], [0]],
        [cycle, ["self", 0]],
        [{ price: new Money() }, ["price"]],
        [{ f: () => 1 }, ["f"]],
        [Symbol.iterator, []],
        [{ [Symbol.iterator]: 1 }, []],
        [Object.assign([1], { index: 1 }), []],
        [new Map([["k", new Error("no")]]), ["k"]],
        [new Float64Array(1), []],
        [{ record: { lc: 2, type: "undefined" } }, ["record"]]
      ]
      for (const [value, path] of refused) {
        const error = yield* Effect.flip(
          put({
            threadId,
            checkpoint: checkpoint("1", {
              channel_values: { a: 1, bad: value },
              channel_versions: { a: 1, bad: 1 }
            })
          })
        )
        expect(error).toMatchObject({ _tag: "SerializationError", part: "channel", channel: "bad", path })
        const inline = yield* Effect.flip(
          put({ threadId, checkpoint: checkpoint("1", { channel_values: { bad: value } }) })
        )
        expect(inline).toMatchObject({ _tag: "SerializationError", part: "channel", channel: "bad", path })
        const inMetadata = yield* Effect.flip(put({ threadId, checkpoint: checkpoint("1"), metadata: { bad: value } }))
        expect(inMetadata).toMatchObject({ _tag: "SerializationError", part: "metadata", path: ["bad", ...path] })
      }
      expect(yield* get({ threadId })).toEqual(Option.none())
    })
  )

  it.effect.prop(
    "gives back exactly what it does not refuse, wherever it is kept",
    { values: fc.dictionary(fc.constantFrom("a", "b", "__proto__", ""), anything, { minKeys: 1, maxKeys: 3 }) },
    ({ values }) =>
      Effect.gen(function* () {
        const threadId = yield* Checkpoint.makeId
        const versions = Object.fromEntries(Object.keys(values).map((channel) => [channel, 1]))
        const writes = Object.entries(values).map(([channel, value]) => ({ channel, value }))
        const exits = yield* Effect.all(
          [
            put({ threadId, checkpoint: checkpoint("1", { channel_values: values, channel_versions: versions }) }),
            put({ threadId, checkpoint: checkpoint("2", { channel_values: values }) }),
            put({ threadId, checkpoint: checkpoint("3"), metadata: values }),
            commit({ threadId, checkpoint: checkpoint("4"), writes: [{ taskId: "t", writes }] })
          ].map(Effect.either)
        )
        // Refused everywhere or nowhere, but where LangGraph has notation of its own for what is the whole.
        const refused = exits.filter(Either.isLeft).map(({ left }) => left._tag)
        const found = yield* Effect.forEach(["1", "2", "3", "4"], (checkpointId) => get({ threadId, checkpointId }))
        if (refused.length > 0) {
          expect(new Set(refused)).toEqual(new Set(["SerializationError"]))
          expect(found.filter(Option.isSome).length).toBe(4 - refused.length)
          return
        }
        const [versioned, inline, metadata, written] = found.map(Option.getOrThrow)
        expect(versioned!.checkpoint.channel_values).toStrictEqual(values)
        expect(inline!.checkpoint.channel_values).toStrictEqual(values)
        expect(metadata!.metadata).toStrictEqual(values)
        expect(Object.entries(values)).toStrictEqual(
          written!.pendingWrites.map(({ channel, value }) => [channel, value])
        )
      }),
    { fastCheck: { numRuns: 20 } }
  )

  it.effect("keeps what is deep, wherever it is kept", () =>
    Effect.gen(function* () {
      const threadId = yield* Checkpoint.makeId
      let deep: unknown = -0
      for (let i = 0; i < 890; i++) deep = i % 2 === 0 ? [deep] : { "\0": deep }
      const saved = checkpoint("1", { channel_values: { deep, inline: deep }, channel_versions: { deep: 1 } })
      yield* put({ threadId, checkpoint: saved, metadata: { deep } })
      const found = yield* getSome({ threadId })
      expect(found.checkpoint).toEqual(saved)
      expect(found.metadata).toEqual({ deep })
    })
  )
}
