import { SqlClient } from "@effect/sql"
import { describe, expect, it, layer } from "@effect/vitest"
import { Effect, FastCheck as fc } from "effect"
import { versionText } from "../src/internal/identifiers.ts"
import * as Json from "../src/internal/json.ts"
import * as Jsonb from "../src/internal/jsonb.ts"
import * as Order from "../src/internal/order.ts"
import * as PgArray from "../src/internal/pgArray.ts"
import { memoMap, stock } from "./database.ts"

describe("the form for JSONB", () => {
  const name = fc.oneof(fc.string(), fc.constantFrom(Jsonb.exactKey, "__proto__", "a\0", "\uD800"))
  const tree = fc.letrec<{ node: unknown }>((tie) => ({
    node: fc.oneof(
      { maxDepth: 3 },
      fc.constantFrom<unknown>(
        -0,
        0,
        null,
        true,
        "\0",
        "\uDC00",
        "a\uD83C",
        "\uFFFD",
        "-0",
        "\\u0000",
        1e308,
        Infinity
      ),
      fc.array(tie("node"), { maxLength: 4 }),
      fc.dictionary(name, tie("node"), { maxKeys: 4 })
    )
  })).node

  it.prop(
    "holds nothing that JSONB refuses, and gives back the exact document",
    [fc.dictionary(name, tree)],
    ([value]) => {
      const text = Json.stringify(value)
      const stored = Jsonb.encode(text)
      expect(hasUnstorable(JSON.parse(stored))).toBe(false)
      // JSONB sorts keys and rewrites white space.
      const reordered = Json.print(JSON.parse(stored, (_, child) => (isObject(child) ? sorted(child) : child)))
      expect(Json.parse(Jsonb.decode(stored))).toStrictEqual(value)
      if (stored !== text) expect(Json.parse(Jsonb.decode(reordered))).toStrictEqual(value)
    }
  )
})

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value)

const sorted = (value: Record<string, unknown>) =>
  Object.fromEntries(Object.entries(value).sort(([a], [b]) => a.length - b.length || (a < b ? -1 : 1)))

const hasUnstorable = (value: unknown): boolean =>
  typeof value === "string"
    ? value.includes("\0") || encodeURIComponentFails(value)
    : Array.isArray(value)
      ? value.some(hasUnstorable)
      : isObject(value)
        ? Object.entries(value).some(([key, child]) => hasUnstorable(key) || hasUnstorable(child))
        : false

const encodeURIComponentFails = (value: string): boolean => {
  try {
    encodeURIComponent(value)
    return false
  } catch {
    return true
  }
}

describe("the memory of large arrays", () => {
  const bytes = (size: number) => PgArray.bytea([Buffer.alloc(size)], (value) => value)

  it("is used again once it was given back", () => {
    const first = bytes(20_000)
    PgArray.giveBack(["a text", null, first])
    const second = bytes(17_000)
    expect(second.buffer).toBe(first.buffer)
    expect(bytes(17_000).buffer).not.toBe(first.buffer)
  })

  it("is lent to one at a time, however often it is given back", () => {
    const first = bytes(20_000)
    PgArray.giveBack([first, first])
    PgArray.giveBack([first])
    expect(bytes(17_000).buffer).not.toBe(bytes(17_000).buffer)
  })

  it("is only its own", () => {
    const others = [Buffer.alloc(20_000), bytes(100)]
    PgArray.giveBack(others)
    expect(others.map(({ buffer }) => buffer)).not.toContain(bytes(16_500).buffer)
  })
})

layer(stock(), { memoMap, timeout: "60 seconds" })("against the server", (it) => {
  const withoutNul = fc.string({ unit: "binary" } as fc.StringSharedConstraints).filter((text) => !text.includes("\0"))
  const cells = fc.array(fc.record({ text: withoutNul, bytes: fc.option(fc.uint8Array()), int: fc.integer() }), {
    maxLength: 8
  })

  it.effect.prop(
    "arrays in binary arrive as they are, empty ones and NULLs too",
    { cells },
    ({ cells }) =>
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        const rows = yield* sql.unsafe(
          "SELECT * FROM unnest($1::text[], $2::bytea[], $3::int[]) AS a (text, bytes, int)",
          [
            PgArray.text(cells, ({ text }) => text),
            PgArray.bytea(cells, ({ bytes }) => bytes),
            PgArray.int4(cells, ({ int }) => int)
          ]
        )
        expect(rows).toEqual(cells.map((cell) => ({ ...cell, bytes: cell.bytes && Buffer.from(cell.bytes) })))
      }),
    { fastCheck: { numRuns: 100 } }
  )

  it.effect("versions are written as the server writes JSON numbers", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const numbers = [
        ...[0, -0, 1, 2 ** 53, 1e21, 1.5e21, 1.25e-7, -1e-7, 5e-324, 1.7976931348623157e308, 123456789.123e15],
        ...fc.sample(fc.double({ noNaN: true, noDefaultInfinity: true }), 2000),
        ...fc.sample(fc.tuple(fc.nat(1000), fc.nat()), 1000).map(([n, k]) => n + 1 + k / 2 ** 32)
      ]
      const rows = yield* sql.unsafe<{ value: string }>(
        "SELECT value FROM jsonb_array_elements_text($1::jsonb) AS v (value)",
        [JSON.stringify(numbers)]
      )
      expect(numbers.map(versionText)).toEqual(rows.map(({ value }) => value))
    })
  )

  it.effect("identifiers are ordered as under COLLATE C", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const texts = [...new Set(fc.sample(withoutNul, 1000)), "a", "a-b", "ab", "B", "\uFFFD", "\u{1F388}", "\u{1F389}"]
      const rows = yield* sql.unsafe<{ t: string }>(
        'SELECT t FROM unnest($1::text[]) AS a (t) ORDER BY t COLLATE "C"',
        [PgArray.texts(texts)]
      )
      expect([...texts].sort(Order.codePoints)).toEqual(rows.map(({ t }) => t))
    })
  )
})
