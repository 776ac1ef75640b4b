/**
 * JSON that JSONB can't hold as it is: it refuses NUL and lone surrogates and reads -0 as 0. Such a document is
 * stored in a form that others can read (the characters replaced by U+FFFD), with its own text beside it.
 *
 * @internal
 */

import * as Json from "./json.ts"

/** @internal */
export const exactKey = "__checkpool_exact"

/** Takes and gives the text of a JSON object. @internal */
export const encode = (text: string): string => {
  if (!suspicious.test(text)) return text
  const value = parseObject(text)
  const readable = legible(value)
  if (!Object.hasOwn(value, exactKey) && equal(readable, value)) return text
  readable[exactKey] = text
  return Json.print(readable)
}

/** The inverse of `encode`, up to the order of keys and white space. @internal */
export const decode = (text: string): string => {
  if (!text.includes(exactKey)) return text
  const { [exactKey]: exact, ...stored } = parseObject(text)
  if (typeof exact !== "string") return text
  try {
    const readable = legible(parseObject(exact))
    delete readable[exactKey]
    // Another program may have changed the document and carried our key along: then what it wrote is what counts.
    return equal(readable, stored) ? exact : Json.print(stored)
  } catch {
    // A document that holds this key by chance.
    return text
  }
}

/** With U+FFFD in place of what JSONB can't hold. @internal */
export const legibleText = (text: string): string => text.replace(unstorable, "\uFFFD")

type JsonObject = { [key: string]: unknown }

const suspicious = /\\u0000|\\u[dD][89a-fA-F]|[:,[]\s*-0(?:\.0*)?(?:[eE][-+]?\d+)?\s*[,}\]]|__checkpool_exact/

// Every NUL and every half of a surrogate pair.
const unstorable = /\0|[\uD800-\uDBFF](?![\uDC00-\uDFFF])|(?<![\uD800-\uDBFF])[\uDC00-\uDFFF]/g

const parseObject = (text: string): JsonObject => {
  const value: unknown = JSON.parse(text)
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw new TypeError("not a JSON object")
  return value as JsonObject
}

const legible = (value: JsonObject): JsonObject => legibleValue(value) as JsonObject

const legibleValue = (value: unknown): unknown => {
  if (typeof value === "string") return legibleText(value)
  if (typeof value === "number") return value + 0
  if (Array.isArray(value)) return value.map(legibleValue)
  if (typeof value !== "object" || value === null) return value
  // Without a prototype "__proto__" is a key like any other.
  const copy: JsonObject = Object.create(null)
  for (const [key, child] of Object.entries(value)) {
    const name = legibleText(key)
    // A key that is legible itself goes first, so that a search for it finds its value.
    if (name === key || !Object.hasOwn(value, name)) copy[name] = legibleValue(child)
  }
  return copy
}

const equal = (a: unknown, b: unknown): boolean => {
  if (Object.is(a, b)) return true
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return false
  if (Array.isArray(a) !== Array.isArray(b)) return false
  const keys = Object.keys(a)
  return (
    keys.length === Object.keys(b).length &&
    keys.every((key) => Object.hasOwn(b, key) && equal((a as JsonObject)[key], (b as JsonObject)[key]))
  )
}
