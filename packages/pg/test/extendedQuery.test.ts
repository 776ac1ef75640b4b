import { createRequire } from "node:module"
import { describe, expect, it } from "@effect/vitest"
import { FastCheck as fc } from "effect"
import * as ExtendedQuery from "../src/internal/extendedQuery.ts"

const ofPg = createRequire(createRequire(import.meta.url).resolve("pg"))
const { serialize } = ofPg("pg-protocol")
const { prepareValue } = ofPg("./utils.js")

/** What the driver writes, message by message. */
const driver = (name: string, values: ReadonlyArray<unknown>, describes: boolean): Buffer =>
  Buffer.concat([
    serialize.bind({ portal: "", statement: name, values, binary: false, valueMapper: prepareValue }),
    ...(describes ? [serialize.describe({ type: "P", name: "" })] : []),
    serialize.execute({ portal: "" }),
    serialize.sync()
  ])

const known = fc.oneof(
  fc.string({ unit: "binary" }),
  fc.double(),
  fc.bigInt(),
  fc.boolean(),
  fc.constantFrom(null, undefined),
  fc.uint8Array().map((bytes) => Buffer.from(bytes))
)
const name = fc.string({ unit: "grapheme", maxLength: 63 }).filter((text) => !text.includes("\0"))

describe("what runs a prepared statement", () => {
  it("is what the driver would write, byte by byte", () => {
    fc.assert(
      fc.property(name, fc.array(known), fc.boolean(), (name, values, describes) => {
        expect(ExtendedQuery.run(name, values, describes)?.equals(driver(name, values, describes))).toBe(true)
      })
    )
  })

  it("is left to the driver where that has a form of its own for a value, or too many of them", () => {
    for (const value of [new Date(), [1], {}, new Uint8Array(2), Symbol.iterator, () => 1]) {
      expect(ExtendedQuery.run("a", ["1", value], false)).toBeUndefined()
    }
    expect(ExtendedQuery.run("a", new Array(65536).fill(1), false)).toBeUndefined()
  })
})
