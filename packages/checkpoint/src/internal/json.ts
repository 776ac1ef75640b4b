/**
 * JSON as LangGraph's serializer reads it, written so that nothing is lost: what JSON has no form for becomes a record
 * `{ lc: 2, … }` that LangGraph's reader knows, or is refused with its path.
 *
 * @internal
 */

/** @internal */
export class Refusal {
  readonly path: ReadonlyArray<string | number>
  readonly reason: string
  constructor(path: ReadonlyArray<string | number>, reason: string) {
    this.path = path
    this.reason = reason
  }
}

/** Throws a `Refusal`. @internal */
export const stringify = (value: unknown): string =>
  // The walk finds what JSON.stringify would lose. Nearly always there is nothing, and then the native one is fastest.
  isPlainJson(value, "", undefined) ? JSON.stringify(value) : write(value)

/** The text of an object without one of its properties. Throws a `Refusal`. @internal */
export const stringifyWithout = (object: object, omitted: string): string => {
  const record = object as Readonly<Record<string, unknown>>
  const frame: Frame = { value: object, key: "", up: undefined, depth: 1 }
  const isPlain =
    Object.getOwnPropertySymbols(object).length === 0 &&
    !Object.hasOwn(object, "lc") &&
    Object.keys(object).every((key) => key === omitted || isPlainJson(record[key], key, frame))
  // JSON.stringify leaves out what is undefined; to copy all but one takes much longer than to copy all.
  if (isPlain) return JSON.stringify({ ...object, [omitted]: undefined })
  const { [omitted]: _, ...others } = record
  return stringify(others)
}

/**
 * The bytes of a text that is ASCII with nothing to be escaped, as ids, URLs and base64 are, and of no other value: without a
 * string of the same size in between.
 *
 * @internal
 */
export const quoted = (value: unknown): Buffer | undefined => {
  // One by one: a class of characters that leaves some out is several times slower to search for.
  if (typeof value !== "string" || value.includes('"') || value.includes("\\") || notPrintable.test(value))
    return undefined
  const bytes = Buffer.allocUnsafe(value.length + 2)
  bytes[0] = quote
  bytes.write(value, 1, "latin1")
  bytes[value.length + 1] = quote
  return bytes
}

const notPrintable = /[^ -~]/
const quote = 0x22

/** For what `JSON.parse` has given: nothing in it is refused or changed. @internal */
export const print = (value: unknown): string => write(value)

/** Throws a `SyntaxError`. @internal */
export const parse = (text: string): unknown => {
  const value: unknown = JSON.parse(text)
  return text.includes('"lc"') ? revive(value) : value
}

/** An object that the walk is in, at its key in the one that it stands in. */
interface Frame {
  readonly value: object
  readonly key: string | number
  readonly up: Frame | undefined
  readonly depth: number
}

const refuse = (reason: string, key: string | number, up: Frame | undefined): never => {
  const path: Array<string | number> = []
  for (let at = key, frame = up; frame !== undefined; at = frame.key, frame = frame.up) path.unshift(at)
  throw new Refusal(path, reason)
}

// True: JSON.stringify writes all of it. False: it takes `write`. A refusal: it can't be kept.
const isPlainJson = (value: unknown, key: string | number, up: Frame | undefined): boolean => {
  switch (typeof value) {
    case "string":
    case "boolean":
      return true
    case "number":
      if (Number.isNaN(value)) return refuse("NaN has no JSON form; store null or a string", key, up)
      return Number.isFinite(value) && !Object.is(value, -0)
    case "undefined":
      return false
    case "object":
      return value === null || isPlainObject(value, key, up)
    case "bigint":
      return refuse("a BigInt has no JSON form; store it as a string", key, up)
    default:
      return refuse(`a ${typeof value} can't be stored; leave it out of the state`, key, up)
  }
}

const isPlainObject = (value: object, key: string | number, up: Frame | undefined): boolean => {
  const refused = (reason: string) => refuse(reason, key, up)
  const depth = up === undefined ? 1 : up.depth + 1
  if (depth > maxDepth) {
    refused(`it is nested more than ${maxDepth} levels deep; store a flatter value, or parts of it under ids`)
  }
  for (let frame = up; frame !== undefined; frame = frame.up) {
    if (frame.value === value) refused("the value contains itself; store a tree, or ids in place of the cycle")
  }
  const frame: Frame = { value, key, up, depth }
  const prototype: unknown = Object.getPrototypeOf(value)
  if (Object.getOwnPropertySymbols(value).length > 0) refused("a key that is a symbol can't be stored")
  if (Array.isArray(value)) {
    // The prototype of arrays is an array itself, in every realm; that of a class is not.
    if (!Array.isArray(prototype)) refused(unknownClass(value))
    const keys = Object.keys(value)
    // Own keys come with the indices first, so the last one tells.
    if (!/^\d*$/.test(keys.at(-1) ?? "")) {
      refused("an array with properties of its own can't be stored; make it an object")
    }
    if (keys.length !== value.length) {
      refused("an array with holes can't be stored; fill them, with undefined or null")
    }
    let plain = true
    for (let i = 0; i < value.length; i++) if (!isPlainJson(value[i], i, frame)) plain = false
    return plain
  }
  if (isRecordPrototype(prototype)) {
    const record = value as Readonly<Record<string, unknown>>
    if (record.lc === 2 && reviveRecord(record) !== record) {
      refused("an object of this form is LangGraph's own notation and would be read back as something else")
    }
    let plain = true
    for (const name of Object.keys(record)) if (!isPlainJson(record[name], name, frame)) plain = false
    return plain
  }
  if (value instanceof Map && prototype === Map.prototype) {
    let i = 0
    for (const [name, child] of value) {
      isPlainJson(name, i, frame)
      isPlainJson(child, typeof name === "string" ? name : i, frame)
      i++
    }
  } else if (value instanceof Set && prototype === Set.prototype) {
    let i = 0
    for (const child of value) isPlainJson(child, i++, frame)
  } else if (value instanceof RegExp && prototype === RegExp.prototype) {
    if (value.lastIndex !== 0) refused("a RegExp in the middle of a search can't be stored; reset its lastIndex")
  } else if (!isBytes(value)) {
    refused(unknownClass(value))
  }
  if (!isBytes(value) && Object.keys(value).length > 0) {
    refused(`a ${value.constructor.name} with properties of its own can't be stored; make it an object`)
  }
  return false
}

/** A `Buffer` too, which comes back as the `Uint8Array` that it is; no other class. @internal */
export const isBytes = (value: unknown): value is Uint8Array =>
  value instanceof Uint8Array && (Buffer.isBuffer(value) || Object.getPrototypeOf(value) === Uint8Array.prototype)

// Far more than states have, and few enough for any reader: Python's gives up at about a thousand, and the server's
// for JSONB at some thousands.
const maxDepth = 900

const isRecordPrototype = (prototype: unknown): boolean =>
  prototype === Object.prototype ||
  prototype === null ||
  // Plain objects of another realm (a vm context, a test runner).
  (Object.getPrototypeOf(prototype) === null && Object.hasOwn(prototype as object, "hasOwnProperty"))

const unknownClass = (value: object): string => {
  if (value instanceof Date) return "a Date has no JSON form; store date.toISOString() or date.getTime()"
  if (value instanceof Error)
    return "an Error can't be stored with its class, stack and cause; store its name and message"
  if (value instanceof URL) return "a URL has no JSON form; store url.href"
  const name = value.constructor?.name || "unnamed class"
  return `an instance of ${name} would come back without its class; encode it to plain data first, with a Schema for example`
}

// What `isPlainJson` has let through, and only that.
const write = (value: unknown): string => {
  if (value === undefined) return '{"lc":2,"type":"undefined"}'
  // JSON's grammar has these numbers, JSON.stringify hasn't: "-0" and "1e999" are read as -0 and Infinity.
  if (typeof value === "number") {
    return Object.is(value, -0) ? "-0" : Number.isFinite(value) ? String(value) : value > 0 ? "1e999" : "-1e999"
  }
  if (typeof value !== "object" || value === null) return JSON.stringify(value)
  if (Array.isArray(value)) return `[${Array.from(value, write).join()}]`
  if (value instanceof Map) {
    return constructed(
      "Map",
      null,
      `[${Array.from(value, ([key, child]) => `[${write(key)},${write(child)}]`).join()}]`
    )
  }
  if (value instanceof Set) return constructed("Set", null, `[${Array.from(value, write).join()}]`)
  if (value instanceof RegExp) return constructed("RegExp", null, `${JSON.stringify(value.source)},"${value.flags}"`)
  if (isBytes(value)) return constructed("Uint8Array", "from", `[${Array.from(value).join()}]`)
  return `{${Object.entries(value)
    .map(([key, child]) => `${JSON.stringify(key)}:${write(child)}`)
    .join()}}`
}

const constructed = (name: string, method: string | null, args: string): string =>
  `{"lc":2,"type":"constructor","id":["${name}"],"method":${JSON.stringify(method)},"args":[${args}],"kwargs":{}}`

// In place: an own key "__proto__" stays a key, because assigning to an existing own property never reaches the setter.
/** @internal */
export const revive = (value: unknown): unknown => {
  if (typeof value !== "object" || value === null) return value
  const children = value as Record<string, unknown>
  for (const key of Object.keys(children)) children[key] = revive(children[key])
  return Array.isArray(value) || children.lc !== 2 ? value : reviveRecord(children)
}

/**
 * A closed set: a record is data, never an order to call something. Whatever is not exactly of a known form stays the
 * object that it is.
 */
const reviveRecord = (record: Readonly<Record<string, unknown>>): unknown => {
  if (record.type === "undefined") return undefined
  if (record.type !== "constructor" || !Array.isArray(record.id) || record.id.length !== 1) return record
  const name: unknown = record.id[0]
  const args: unknown = record.args
  if (!Array.isArray(args)) return record
  const [first, second] = args as ReadonlyArray<unknown>
  const plainCall = record.method === undefined || record.method === null
  if (name === "Uint8Array" && (plainCall || record.method === "from")) {
    return args.length === 1 && Array.isArray(first) && first.every(isByte) ? Uint8Array.from(first) : record
  }
  if (!plainCall) return record
  if (name === "Set" && args.length === 1 && Array.isArray(first)) return new Set<unknown>(first)
  if (name === "Map" && args.length === 1 && Array.isArray(first) && first.every(isEntry)) return new Map(first)
  if (name === "Error" && args.length === 1 && typeof first === "string") return new Error(first)
  if (name === "RegExp" && args.length === 2 && typeof first === "string" && typeof second === "string") {
    try {
      return new RegExp(first, second)
    } catch {
      return record
    }
  }
  return record
}

const isByte = (value: unknown): value is number =>
  typeof value === "number" && Number.isInteger(value) && value >= 0 && value <= 255

const isEntry = (value: unknown): value is [unknown, unknown] => Array.isArray(value) && value.length === 2
