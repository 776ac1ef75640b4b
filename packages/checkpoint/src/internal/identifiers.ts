/** @internal */

import type { ChannelVersion } from "../Checkpoint.ts"
import { InvalidIdentifier } from "../CheckpointError.ts"

/**
 * Postgres refuses an index entry over 2,704 bytes. The rest pays for the entry's headers and padding; compression
 * might fit more in, but then a key's fate would depend on its content.
 *
 * @internal
 */
export const maxKeyBytes = 2600

/** @internal */
export type Parts = ReadonlyArray<readonly [field: string, value: unknown, empty?: "mayBeEmpty"]>

/** Parts of a key that are fit for text columns. @internal */
export interface Measured {
  readonly bytes: number
  /** The longest part, and its bytes. */
  readonly field: string
  readonly value: string
  readonly longest: number
}

const nothing: Measured = { bytes: 0, field: "", value: "", longest: -1 }

/** Each of the parts is to be fit for a text column, all of them, with those before, for an index. @internal */
export const measure = (parts: Parts, before: Measured = nothing): Measured | InvalidIdentifier => {
  let { bytes, field: longestField, longest, value: longestValue } = before
  for (const [field, value, empty] of parts) {
    if (typeof value !== "string") return invalid(field, "NotAString", String(value))
    if (value === "" && empty === undefined) return invalid(field, "Empty", value)
    const plain = isPlain(value)
    if (!plain && value.includes("\0")) return invalid(field, "Nul", value)
    if (!plain && loneSurrogate.test(value)) return invalid(field, "LoneSurrogate", value)
    const length = plain ? value.length : Buffer.byteLength(value)
    bytes += length
    if (length > longest) {
      longestField = field
      longestValue = value
      longest = length
    }
  }
  if (bytes > maxKeyBytes) return invalid(longestField, "TooLong", longestValue)
  return { bytes, field: longestField, value: longestValue, longest }
}

/** The parts of one key. @internal */
export const check = (parts: Parts, before?: Measured): InvalidIdentifier | undefined => {
  const measured = measure(parts, before)
  return measured instanceof InvalidIdentifier ? measured : undefined
}

/** Whether it is ASCII without NUL, as nearly all of them are. */
const isPlain = (value: string): boolean => {
  for (let i = 0; i < value.length; i++) {
    const unit = value.charCodeAt(i)
    if (unit === 0 || unit > 0x7f) return false
  }
  return true
}

/** The name of a schema: Postgres cuts off what is too long, and would take two names for one. @internal */
export const checkSchema = (name: string): InvalidIdentifier | undefined =>
  check([["schema", name]]) ?? (Buffer.byteLength(name) > 63 ? invalid("schema", "TooLong", name) : undefined)

/**
 * A version as text, written as Postgres writes a JSON number: readers find a blob by comparing the two. They differ
 * for numbers that JavaScript writes with an exponent.
 *
 * @internal
 */
export const versionText = (version: ChannelVersion): string | InvalidIdentifier => {
  if (typeof version !== "number") return version
  if (Number.isSafeInteger(version)) return String(version)
  if (!Number.isFinite(version)) return invalid("version", "NotFinite", String(version))
  const [mantissa = "", exponent] = String(version).split("e")
  if (exponent === undefined) return mantissa
  const sign = mantissa.startsWith("-") ? "-" : ""
  const [whole = "", fraction = ""] = mantissa.slice(sign.length).split(".")
  const point = whole.length + Number(exponent)
  const digits = whole + fraction
  return point <= 0
    ? `${sign}0.${"0".repeat(-point)}${digits}`
    : `${sign}${digits.padEnd(point, "0")}${digits.length > point ? `.${digits.slice(point)}` : ""}`
}

const loneSurrogate = /[\uD800-\uDBFF](?![\uDC00-\uDFFF])|(?<![\uD800-\uDBFF])[\uDC00-\uDFFF]/

const invalid = (field: string, reason: InvalidIdentifier["reason"], value: string): InvalidIdentifier =>
  new InvalidIdentifier({ field, reason, value: value.slice(0, 64) })
