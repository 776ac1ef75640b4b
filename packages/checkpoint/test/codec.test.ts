import { runInNewContext } from "node:vm"
import { Codec } from "@checkpool/checkpoint"
import { describe, expect, it } from "@effect/vitest"
import { Effect, Either, FastCheck as fc } from "effect"
import { anything } from "./anything.ts"

const at: Codec.Location = { part: "channel", channel: "c" }

/** What has a form in the store that reads back as what it was, were it not for something inside of it. */
const isOutlaw = (value: unknown): boolean => {
  if (["bigint", "function", "symbol"].includes(typeof value) || Number.isNaN(value)) return true
  if (typeof value !== "object" || value === null) return false
  const prototype: unknown = Object.getPrototypeOf(value)
  const keepable = [
    Object.prototype,
    Array.prototype,
    Map.prototype,
    Set.prototype,
    RegExp.prototype,
    Uint8Array.prototype
  ]
  return (
    (prototype !== null && !keepable.some((each) => each === prototype) && !Buffer.isBuffer(value)) ||
    Object.getOwnPropertySymbols(value).length > 0 ||
    (Array.isArray(value) && Object.keys(value).join() !== Array.from(value, (_, i) => i).join()) ||
    (!Array.isArray(value) && (value instanceof Map || value instanceof Set) && Object.keys(value).length > 0) ||
    // LangGraph's own notation.
    (value as { lc?: unknown }).lc === 2
  )
}

/** The part of a value that a path leads to. */
const follow = (value: unknown, path: ReadonlyArray<string | number>): unknown =>
  path.reduce<unknown>((current, key) => {
    if (current instanceof Set) return Array.from(current)[key as number]
    if (current instanceof Map) {
      const byKey = current.get(key)
      if (typeof key === "string") return byKey
      // Of an entry that has no name: the value, or the key if that is what can't be kept.
      const [k, v] = Array.from(current)[key]!
      return isOutlaw(k) || hasOutlaw(k) ? k : v
    }
    return (current as Record<string | number, unknown>)[key]
  }, value)

const hasOutlaw = (value: unknown): boolean =>
  isOutlaw(value) ||
  (typeof value === "object" &&
    value !== null &&
    (value instanceof Map
      ? [...value].flat().some(hasOutlaw)
      : value instanceof Set
        ? [...value].some(hasOutlaw)
        : Object.values(value).some(hasOutlaw)))

describe("the default codec", () => {
  it.effect.prop(
    "gives back exactly what it was given, or refuses it and names the way to what can't be kept",
    { value: anything },
    ({ value }) =>
      Effect.gen(function* () {
        const encoded = yield* Effect.either(Codec.json.encode(value, at))
        if (Either.isRight(encoded)) {
          expect(yield* Codec.json.decode(encoded.right, at)).toStrictEqual(value)
        } else {
          expect(encoded.left).toMatchObject({ operation: "encode", channel: "c" })
          expect(isOutlaw(follow(value, encoded.left.path))).toBe(true)
        }
      }),
    { fastCheck: { numRuns: 400 } }
  )

  it.effect.prop(
    "writes plain JSON as JSON.stringify does",
    { value: fc.jsonValue({ noUnicodeString: false }) },
    ({ value }) =>
      Effect.map(Codec.json.encode(value, at), ({ data, type }) => {
        expect(type).toBe("json")
        const text = new TextDecoder().decode(data)
        expect(text.replaceAll(/(?<=[:,[]|^)-0(?=[,}\]]|$)/g, "0")).toBe(JSON.stringify(value))
      })
  )

  const text = fc
    .tuple(
      fc.string({ maxLength: 40 }),
      fc.constantFrom("", '"', "\\", "\n", "\x1f", "\x7f", "é", "\0", "\uD800", "🎈"),
      fc.nat(40)
    )
    .map(([text, character, at]) => text.slice(0, at) + character + text.slice(at))

  it.effect.prop("writes a text as JSON.stringify does", [text], ([text]) =>
    Effect.map(Codec.json.encode(text, at), ({ data, type }) => {
      expect(type).toBe("json")
      expect(Buffer.from(data).toString()).toBe(JSON.stringify(text))
    })
  )

  it.effect.each<readonly [name: string, value: unknown, reason: string]>([
    ["an array with holes", Object.assign(new Array(3), { 0: 1, 2: 3 }), "holes"],
    ["an array of nothing but holes", new Array(3), "holes"],
    ["an array with a property", Object.assign([1], { index: 1 }), "properties of its own"],
    ["an array with a hole and a property", Object.assign(new Array(1), { index: 1 }), "properties of its own"],
    ["an array of a class", new (class Rows extends Array {})(), "an instance of Rows"],
    ["a map with a property", Object.assign(new Map(), { size_: 1 }), "a Map with properties of its own"],
    ["a map of a class", new (class Table extends Map {})(), "an instance of Table"],
    ["a set with a property", Object.assign(new Set(), { a: 1 }), "a Set with properties of its own"],
    ["bytes of a class", new (class Bytes extends Uint8Array {})(1), "an instance of Bytes"],
    ["clamped bytes", new Uint8ClampedArray(1), "an instance of Uint8ClampedArray"],
    ["an ArrayBuffer", new ArrayBuffer(1), "an instance of ArrayBuffer"],
    ["a boxed string", new String("a"), "an instance of String"],
    ["a promise", Promise.resolve(1), "an instance of Promise"],
    ["a WeakMap", new WeakMap(), "an instance of WeakMap"],
    ["a date", new Date(0), "date.toISOString()"],
    ["an invalid date", new Date(Number.NaN), "date.toISOString()"],
    ["a URL", new URL("http://localhost"), "url.href"],
    ["an error", new RangeError("no"), "name and message"],
    ["a function", () => 1, "a function"],
    ["an object with a method toJSON", { toJSON: () => 1 }, "a function"],
    ["an object whose prototype has data", Object.create({ a: 1 }), "without its class"]
  ])("refuses %s", ([, value, reason]) =>
    Effect.gen(function* () {
      for (const whole of [value, { deep: [value] }, new Map([["deep", [value]]])]) {
        const error = yield* Effect.flip(Codec.json.encode(whole, at))
        expect(error.reason).toContain(reason)
        expect(isOutlaw(follow(whole, error.path)) || error.path.at(-1) === "toJSON").toBe(true)
      }
    })
  )

  it.effect("keeps what is nested 900 levels deep, and names the way to what is deeper", () =>
    Effect.gen(function* () {
      const nested = (levels: number): unknown => {
        let value: unknown = 0
        for (let i = 0; i < levels; i++) value = i % 2 === 0 ? [value] : { in: value }
        return value
      }
      const encoded = yield* Codec.json.encode(nested(900), at)
      expect(JSON.stringify(yield* Codec.json.decode(encoded, at))).toBe(JSON.stringify(nested(900)))
      for (const levels of [901, 100_000]) {
        const error = yield* Effect.flip(Codec.json.encode(nested(levels), at))
        expect(error.reason).toContain("more than 900 levels deep")
        expect(error.path).toHaveLength(900)
        expect(error.message.length).toBeLessThan(400)
      }
    })
  )

  it.effect("refuses objects whose properties can't be read", () =>
    Effect.gen(function* () {
      const trap = {
        get trap() {
          throw new Error("no")
        }
      }
      expect(yield* Effect.flip(Codec.json.encode(trap, at))).toMatchObject({ cause: new Error("no") })
    })
  )

  it.effect("keeps plain objects and arrays of other realms", () =>
    Effect.gen(function* () {
      const foreign: unknown = runInNewContext("({ list: [1, { a: -0 }], undefined: undefined })")
      const decoded = yield* Codec.json.decode(yield* Codec.json.encode(foreign, at), at)
      expect(decoded).toStrictEqual({ list: [1, { a: -0 }], undefined: undefined })
    })
  )

  it.effect("names the channel and the path in its message", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(Codec.json.encode({ steps: [{ "the cost": 1n }] }, at))
      expect(error.message).toBe(
        `Can't encode channel "c" at .steps[0]["the cost"]: a BigInt has no JSON form; store it as a string`
      )
    })
  )

  it.effect("leaves records inert that are not of a known form", () =>
    Effect.gen(function* () {
      const inert = [
        { lc: 2, type: "constructor", id: ["Function"], method: null, args: ["return process"], kwargs: {} },
        { lc: 2, type: "constructor", id: ["Map"], method: "groupBy", args: [[]], kwargs: {} },
        { lc: 2, type: "constructor", id: ["RegExp"], method: null, args: ["(", ""], kwargs: {} },
        { lc: 2, type: "delta_snapshot", value: [1] },
        { lc: 1, type: "constructor", id: ["langchain_core", "messages", "HumanMessage"], kwargs: { content: "hi" } }
      ]
      const data = new TextEncoder().encode(JSON.stringify(inert))
      expect(yield* Codec.json.decode({ type: "json", data }, at)).toStrictEqual(inert)
      expect(yield* Codec.json.encode(inert, at)).toEqual({ type: "json", data: Buffer.from(data) })
    })
  )

  it.effect("fails, and does not guess, on what is not its own", () =>
    Effect.gen(function* () {
      for (const encoded of [
        { type: "msgpack", data: Uint8Array.of(0x90) },
        { type: "json", data: Uint8Array.of(0x22, 0xff, 0x22) },
        { type: "json", data: new TextEncoder().encode('{"cut') }
      ]) {
        expect(yield* Effect.flip(Codec.json.decode(encoded, at))).toMatchObject({ operation: "decode", channel: "c" })
      }
    })
  )
})
