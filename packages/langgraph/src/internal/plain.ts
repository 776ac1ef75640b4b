/**
 * Makes plain data of the objects that LangChain and LangGraph keep in states, and of what JSON has no form for. All
 * other things stay as they are: the default codec has a form for them, or refuses them.
 *
 * @internal
 */
import type { Serializable } from "@langchain/core/load/serializable"
import * as Notation from "./notation.ts"

/** @internal */
export class Refusal {
  readonly path: ReadonlyArray<string | number>
  readonly reason: string
  constructor(path: ReadonlyArray<string | number>, reason: string) {
    this.path = path
    this.reason = reason
  }
}

/** @internal */
export interface Made {
  readonly plain: unknown
  /** The records for LangChain, with their places: whether it can load them is not known yet. */
  readonly records: ReadonlyArray<{
    readonly record: Notation.LangChainRecord
    readonly path: ReadonlyArray<string | number>
    /** Whether it was made of an object, so that its class decides; or found as data that might be anything. */
    readonly ofObject: boolean
  }>
}

/** Throws a `Refusal`. What needs no change is not copied. @internal */
export const make = (value: unknown): Made => {
  const trail: Trail = { path: [], above: new Set(), records: [], inArguments: false }
  return { plain: visit(value, trail), records: trail.records }
}

interface Trail {
  readonly path: Array<string | number>
  /** What the value is in. */
  readonly above: Set<object>
  readonly records: Array<Made["records"][number]>
  /** Whether LangChain will load what surrounds the value, and so heed its escape. */
  inArguments: boolean
}

const visit = (value: unknown, trail: Trail): unknown => {
  if (typeof value !== "object" || value === null) return Notation.toRecord(value) ?? value
  if (trail.above.has(value)) {
    throw new Refusal(trail.path.slice(), "the value contains itself; store a tree, or ids in place of the cycle")
  }
  trail.above.add(value)
  const plain = visitObject(value, trail)
  trail.above.delete(value)
  return plain
}

const visitObject = (value: object, trail: Trail): unknown => {
  if (Array.isArray(value)) return visitArray(value, trail)
  const prototype: unknown = Object.getPrototypeOf(value)
  if (prototype === Object.prototype || prototype === null) return visitPlain(value as Notation.Plain, trail)
  if (value instanceof Foreign) return within(false, trail, () => visit(value.value, trail))
  if (isSerializable(value)) return visitSerializable(value, trail)
  const record = Notation.toRecord(value)
  if (record !== undefined) return visitChildren(record, trail)
  if (value instanceof Map && prototype === Map.prototype) {
    const entries = Array.from(value)
    const plain = visitArray(entries, trail)
    return plain === entries ? value : new Map(plain)
  }
  if (value instanceof Set && prototype === Set.prototype) {
    const members = Array.from(value)
    const plain = visitArray(members, trail)
    return plain === members ? value : new Set(plain)
  }
  if (isDocument(value)) {
    const { id, metadata, pageContent } = value
    const kwargs = { page_content: pageContent, metadata, ...(id === undefined ? {} : { id }) }
    return visitRecord(
      { lc: 1, type: "constructor", id: ["langchain_core", "documents", "Document"], kwargs },
      trail,
      true
    )
  }
  if (isLangGraphs(value)) {
    const json = value.toJSON()
    if (value.lg_name !== "Send") return visitChildren(json, trail)
    // As the stock serializer has it: a Send is known by its fields.
    const { args, node, timeout } = json
    return visitChildren({ node, args, ...(timeout === undefined ? {} : { timeout }) }, trail)
  }
  return value
}

const visitPlain = (value: Notation.Plain, trail: Trail): unknown => {
  if (Notation.isLangChainRecord(value)) return visitRecord(value, trail, false)
  if (value.lc === 2 && Notation.fromRecord(value) !== value) {
    throw new Refusal(
      trail.path.slice(),
      "an object of this form is the saver's own notation and would be read back as something else"
    )
  }
  return visitChildren(value, trail)
}

const visitRecord = (record: Notation.LangChainRecord, trail: Trail, ofObject: boolean): unknown => {
  const path = trail.path.slice()
  trail.path.push("kwargs")
  const kwargs = within(true, trail, () => visitChildren(record.kwargs ?? {}, trail))
  trail.path.pop()
  const plain = kwargs === record.kwargs ? record : { ...record, kwargs }
  trail.records.push({ record: plain, path, ofObject })
  return plain
}

const within = <A>(inArguments: boolean, trail: Trail, f: () => A): A => {
  const before = trail.inArguments
  trail.inArguments = inArguments
  const result = f()
  trail.inArguments = before
  return result
}

/** A record comes with its notation, which is not data; what it holds is. */
const visitChildren = <A extends Notation.Plain>(value: A, trail: Trail): A => {
  let copy: Record<string, unknown> | undefined
  for (const key of Object.keys(value)) {
    if (key === Notation.escaped && trail.inArguments) continue
    trail.path.push(key)
    const plain = visit(value[key], trail)
    trail.path.pop()
    if (plain === value[key]) continue
    copy ??= { ...value }
    copy[key] = plain
  }
  return (copy ?? value) as A
}

const visitArray = <A>(value: Array<A>, trail: Trail): Array<A> => {
  let copy: Array<A> | undefined
  for (let i = 0; i < value.length; i++) {
    trail.path.push(i)
    const plain = visit(value[i], trail) as A
    trail.path.pop()
    if (plain === value[i]) continue
    copy ??= Object.assign([] as Array<A>, value)
    copy[i] = plain
  }
  return copy ?? value
}

const isSerializable = (value: object): value is Serializable =>
  "lc_serializable" in value && "toJSON" in value && typeof value.toJSON === "function"

interface Document {
  readonly pageContent: string
  readonly metadata: Notation.Plain
  readonly id?: string | undefined
}

// The class bears no mark, and there may be several copies of the package.
const isDocument = (value: object): value is Document =>
  value.constructor?.name === "Document" &&
  "pageContent" in value &&
  Object.keys(value).every((key) => key === "pageContent" || key === "metadata" || key === "id")

interface LangGraphs {
  readonly lg_name: string
  readonly toJSON: () => Notation.Plain
}

const isLangGraphs = (value: object): value is LangGraphs =>
  "lg_name" in value && "toJSON" in value && typeof value.toJSON === "function"

const visitSerializable = (value: Serializable, trail: Trail): unknown => {
  const json: Notation.Plain = { ...sheltered(value, trail).toJSON() }
  if (!Notation.isLangChainRecord(json)) {
    throw new Refusal(
      trail.path.slice(),
      `LangChain gives no serialized form for an instance of ${value.constructor.name}; keep what it is made of instead`
    )
  }
  return visitRecord(json, trail, true)
}

/**
 * `toJSON` takes objects other than LangChain's for plain ones, and makes `{}` of a date or a map among the arguments.
 * It passes on what looks serializable to it, so that is what such objects get wrapped in.
 */
const sheltered = (value: Serializable, trail: Trail): Serializable => {
  const shelter: PropertyDescriptorMap = {}
  trail.path.push("kwargs")
  for (const key of Object.keys(value.lc_kwargs ?? {})) {
    const argument: unknown = key in value ? value[key as keyof Serializable] : value.lc_kwargs[key]
    trail.path.push(key)
    const safe = shelterFrom(argument, trail)
    trail.path.pop()
    if (safe !== argument) shelter[key] = { value: safe, enumerable: true }
  }
  trail.path.pop()
  return Object.keys(shelter).length === 0 ? value : (Object.create(value, shelter) as Serializable)
}

class Foreign {
  readonly lc_serializable = true
  readonly value: object
  constructor(value: object) {
    this.value = value
  }
  toJSON(): this {
    return this
  }
}

const shelterFrom = (value: unknown, trail: Trail): unknown => {
  if (typeof value !== "object" || value === null || isSerializable(value)) return value
  const prototype: unknown = Object.getPrototypeOf(value)
  if (!Array.isArray(value) && prototype !== Object.prototype && prototype !== null) return new Foreign(value)
  // LangChain escapes these as a whole, and gives them back as they are.
  if ("lc" in value || Notation.escaped in value || trail.above.has(value)) return value
  if (Object.hasOwn(value, "__proto__")) {
    throw new Refusal(trail.path.slice(), 'LangChain would drop the key "__proto__"; choose another one')
  }
  trail.above.add(value)
  let copy: Record<string, unknown> | undefined
  for (const [key, child] of Object.entries(value)) {
    trail.path.push(Array.isArray(value) ? Number(key) : key)
    const safe = shelterFrom(child, trail)
    trail.path.pop()
    if (safe === child) continue
    copy ??= Object.assign(Array.isArray(value) ? [] : {}, value) as Record<string, unknown>
    copy[key] = safe
  }
  trail.above.delete(value)
  return copy ?? value
}
