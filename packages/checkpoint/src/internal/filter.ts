/**
 * Filters on metadata: containment, as `metadata @> filter` decides it.
 *
 * What JSONB can't hold exactly is stored legibly, with its own text beside it (see `jsonb.ts`). So the server, which
 * compares legible forms, may find too much for a filter that holds such things, but never too little: what it finds
 * is then looked at again, exactly.
 *
 * @internal
 */
import * as Json from "./json.ts"
import * as Jsonb from "./jsonb.ts"

/** @internal */
export interface Filter {
  /** Text of a JSON object, fit for JSONB, that is contained in the stored form of all metadata that match. */
  readonly stored: string
  /** Takes the stored form of metadata that contain `stored`. Left out where that is decisive. */
  readonly matches: ((metadata: string) => boolean) | undefined
}

/** Takes the text of a JSON object; `undefined` if it is empty, because then all metadata match. @internal */
export const make = (text: string): Filter | undefined => {
  const exact = JSON.parse(text) as Readonly<Record<string, unknown>>
  if (Object.keys(exact).length === 0) return undefined
  const found = { decisive: !Object.hasOwn(exact, Jsonb.exactKey) }
  const stored = legible(exact, found) as Record<string, unknown>
  delete stored[Jsonb.exactKey]
  return {
    stored: Json.print(stored),
    matches: found.decisive ? undefined : (metadata) => contains(JSON.parse(Jsonb.decode(metadata)), exact)
  }
}

/** Whether a JSON value contains another one as JSONB's `@>` has it, but for the scalars of an array on top. @internal */
export const contains = (whole: unknown, part: unknown): boolean => {
  if (typeof part !== "object" || part === null) return whole === part
  if (typeof whole !== "object" || whole === null || Array.isArray(whole) !== Array.isArray(part)) return false
  if (Array.isArray(part)) return part.every((child) => (whole as Array<unknown>).some((each) => contains(each, child)))
  return Object.entries(part).every(
    ([key, child]) => Object.hasOwn(whole, key) && contains((whole as Readonly<Record<string, unknown>>)[key], child)
  )
}

// A key that can't be stored may have given way to a legible one of the same look, so nothing is asked of it.
const legible = (value: unknown, found: { decisive: boolean }): unknown => {
  if (typeof value === "string") {
    const text = Jsonb.legibleText(value)
    if (text.includes("\uFFFD")) found.decisive = false
    return text
  }
  if (Array.isArray(value)) return value.map((child) => legible(child, found))
  if (typeof value !== "object" || value === null) return value === 0 ? 0 : value
  const copy: Record<string, unknown> = Object.create(null)
  for (const [key, child] of Object.entries(value)) {
    if (Jsonb.legibleText(key).includes("\uFFFD")) found.decisive = false
    if (Jsonb.legibleText(key) === key) copy[key] = legible(child, found)
  }
  return copy
}
