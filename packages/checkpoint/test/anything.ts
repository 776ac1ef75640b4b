/** Values of all kinds, most of them with something in them that JSON has no form for. */
import { FastCheck as fc } from "effect"

const special = fc.constantFrom<unknown>(
  ...[undefined, -0, 0, Infinity, -Infinity, NaN, "\0", "\uD800", "a\uDC00b", "🎈", "\u2028", 1n],
  ...[Uint8Array.of(0, 255), /a"b\/c/giu, new Date(0), new URL("http://localhost"), Symbol.iterator],
  ...[
    { lc: 2, type: "undefined" },
    { lc: 1, type: "constructor" },
    { ["__proto__"]: 1 },
    { constructor: 1, toString: 2 }
  ]
)

export const anything = fc.oneof(
  special,
  fc.array(special, { maxLength: 3 }),
  fc.dictionary(fc.oneof(fc.constantFrom("__proto__", "lc", "a\0", "\uD800", ""), fc.string()), special, {
    maxKeys: 4
  }),
  fc.array(fc.tuple(fc.oneof(fc.string(), special), special), { maxLength: 3 }).map((entries) => new Map(entries)),
  fc.anything({
    withBigInt: true,
    withDate: true,
    withMap: true,
    withObjectString: true,
    withSet: true,
    withSparseArray: true,
    withTypedArray: true,
    withUnicodeString: true,
    maxDepth: 4
  })
)
