/**
 * The records that stand for objects in JSON. LangChain's are `{ lc: 1, … }`; LangGraph's serializer has a closed set
 * `{ lc: 2, … }`, of which the default codec knows all but the snapshots of delta channels. What both lack is written in
 * the form of that set, so that their readers take it for inert data: they give the record.
 *
 * @internal
 */
import { DeltaSnapshot } from "@langchain/langgraph-checkpoint"

/** @internal */
export type Plain = { readonly [key: string]: unknown }

/** LangChain's escape for data among its arguments that looks like a record: what is under this key stays as it is. @internal */
export const escaped = "__lc_escaped__"

/** An object that LangChain can make again: `load` takes the record. @internal */
export interface LangChainRecord extends Plain {
  readonly lc: 1
  readonly type: "constructor"
  readonly id: ReadonlyArray<string>
  readonly kwargs: Plain
}

/** @internal */
export const isLangChainRecord = (value: Plain): value is LangChainRecord =>
  value.lc === 1 && value.type === "constructor" && Array.isArray(value.id)

/** What stands for a value that JSON has no form for; `undefined` if it is none of these. @internal */
export const toRecord = (value: unknown): Plain | undefined => {
  if (typeof value === "bigint") return constructed("BigInt", String(value))
  if (typeof value === "number") return Number.isNaN(value) ? constructed("Number", "NaN") : undefined
  if (typeof value !== "object" || value === null) return undefined
  const prototype: unknown = Object.getPrototypeOf(value)
  if (value instanceof Date && prototype === Date.prototype) {
    return Number.isNaN(value.getTime()) ? undefined : constructed("Date", value.toISOString())
  }
  if (value instanceof URL && prototype === URL.prototype) return constructed("URL", value.href)
  if (value instanceof Error) {
    const name = errorNames.find((name) => errors[name].prototype === prototype)
    return name && { lc: 2, type: "error", name, message: value.message, stack: value.stack, properties: ownOf(value) }
  }
  if (isSnapshot(value)) return { lc: 2, type: "delta_snapshot", value: value.value }
  return undefined
}

/** What a record of `toRecord` stands for; the record itself if it is none. @internal */
export const fromRecord = (record: Plain): unknown => {
  if (record.lc !== 2) return record
  if (record.type === "delta_snapshot" && Object.hasOwn(record, "value")) return new DeltaSnapshot(record.value)
  if (record.type === "error") return toError(record) ?? record
  if (record.type !== "constructor" || !Array.isArray(record.id) || !Array.isArray(record.args)) return record
  const [argument] = record.args as ReadonlyArray<unknown>
  if (record.id.length !== 1 || record.args.length !== 1 || typeof argument !== "string") return record
  switch (record.id[0]) {
    case "BigInt":
      return /^-?\d+$/.test(argument) ? BigInt(argument) : record
    case "Number":
      return argument === "NaN" ? Number.NaN : record
    case "Date": {
      const date = new Date(argument)
      return Number.isNaN(date.getTime()) ? record : date
    }
    case "URL":
      return URL.canParse(argument) ? new URL(argument) : record
    default:
      return record
  }
}

const constructed = (name: string, argument: string): Plain => ({
  lc: 2,
  type: "constructor",
  id: [name],
  method: null,
  args: [argument],
  kwargs: {}
})

// There may be several copies of the package, so this goes by the mark that is meant for it.
const isSnapshot = (value: object): value is DeltaSnapshot =>
  "lg_name" in value && value.lg_name === "DeltaSnapshot" && "value" in value

const errors = { Error, EvalError, RangeError, ReferenceError, SyntaxError, TypeError, URIError }

const errorNames = Object.keys(errors) as ReadonlyArray<keyof typeof errors>

/** What has been set on an error, with its cause: a system error's code, a name. */
const ownOf = (error: Error): Plain =>
  Object.fromEntries(
    Object.getOwnPropertyNames(error)
      .filter((key) => key !== "message" && key !== "stack")
      .map((key) => [key, (error as unknown as Plain)[key]])
  )

const toError = ({ message, name, properties, stack }: Plain): Error | undefined => {
  const known = errorNames.find((each) => each === name)
  if (known === undefined || typeof message !== "string") return undefined
  const error = new errors[known](message)
  const hidden = (key: string, value: unknown, enumerable: boolean) =>
    Object.defineProperty(error, key, { value, enumerable, configurable: true, writable: true })
  hidden("stack", stack, false)
  for (const [key, value] of Object.entries(properties ?? {})) hidden(key, value, key !== "cause")
  return error
}
