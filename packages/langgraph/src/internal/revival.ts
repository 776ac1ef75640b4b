/**
 * Makes objects again of what `plain.ts` made of them, within a value that has been parsed for this purpose.
 *
 * @internal
 */
import { load } from "@langchain/core/load"
import * as Notation from "./notation.ts"

/**
 * The value with its objects; a promise where LangChain has to make some of them. Rejects if it can't.
 *
 * @internal
 */
export const revive = (value: unknown): unknown | Promise<unknown> => {
  const holder = { value }
  const jobs: Array<Job> = []
  visit(value, into(holder, "value"), jobs)
  return jobs.every(({ waits }) => !waits) ? run(jobs, holder) : runAll(jobs, holder)
}

/** They build on each other, so they are done in their order. */
interface Job {
  readonly waits: boolean
  readonly run: () => unknown
}

interface Holder {
  readonly value: unknown
}

const run = (jobs: ReadonlyArray<Job>, holder: Holder): unknown => {
  for (const job of jobs) job.run()
  return holder.value
}

const runAll = async (jobs: ReadonlyArray<Job>, holder: Holder): Promise<unknown> => {
  for (const job of jobs) await job.run()
  return holder.value
}

type Replace = (object: unknown) => void

const into =
  <K extends string | number>(holder: Record<K, unknown>, key: K): Replace =>
  (object) => {
    // An own key "__proto__" stays a key, because assigning to an existing own property never reaches the setter.
    holder[key] = object
  }

const visit = (value: unknown, replace: Replace, jobs: Array<Job>): void => {
  if (typeof value !== "object" || value === null) return
  if (Array.isArray(value)) {
    visitFields(value, jobs)
    return
  }
  if (value instanceof Map) {
    const entries = Array.from(value)
    visitFields(entries, jobs)
    // The map itself stays where it is.
    jobs.push({
      waits: false,
      run: () => {
        value.clear()
        for (const [key, child] of entries) value.set(key, child)
      }
    })
    return
  }
  if (value instanceof Set) {
    const members = Array.from(value)
    visitFields(members, jobs)
    jobs.push({
      waits: false,
      run: () => {
        value.clear()
        for (const member of members) value.add(member)
      }
    })
    return
  }
  if (Object.getPrototypeOf(value) !== Object.prototype) return
  const record = value as Notation.Plain
  if (Notation.isLangChainRecord(record)) {
    const kept: Array<unknown> = []
    keepForeign(record, kept, jobs)
    jobs.push({ waits: true, run: async () => replace(await loadRecord(record, kept)) })
    return
  }
  visitFields(record, jobs)
  // What is in it has been made by then.
  if (record.lc === 2) jobs.push({ waits: false, run: () => replace(Notation.fromRecord(record)) })
}

const visitFields = (value: object, jobs: Array<Job>): void => {
  const fields = value as Record<string, unknown>
  for (const key of Object.keys(fields)) visit(fields[key], into(fields, key), jobs)
}

/** What stands in the place of a value that `load`, which takes a text, can't be given: it asks for secrets by name. */
const secret = (place: number): Notation.Plain => ({ lc: 1, type: "secret", id: [`checkpool ${place}`] })

const loadRecord = (record: Notation.LangChainRecord, kept: ReadonlyArray<unknown>): Promise<unknown> =>
  load(JSON.stringify(record), {
    secretsMap: Object.fromEntries(kept.map((value, place) => [`checkpool ${place}`, value])),
    // The values come from our own tables and were as deep when they were put.
    maxDepth: Number.POSITIVE_INFINITY
  })

/** Leaves JSON in place, LangChain's records included, and moves all else to `kept`. */
const keepForeign = (value: object, kept: Array<unknown>, jobs: Array<Job>, areArguments = false): void => {
  const fields = value as Record<string, unknown>
  for (const key of Object.keys(fields)) {
    if (key === Notation.escaped) continue
    const child = fields[key]
    // Constructors tell an argument that is missing from one that is undefined, and LangChain leaves it out.
    if (child === undefined && areArguments) continue
    if (isForeign(child)) {
      const place = kept.push(child) - 1
      fields[key] = secret(place)
      visit(child, into(kept, place), jobs)
    } else if (typeof child === "object" && child !== null) {
      keepForeign(child, kept, jobs, key === "kwargs" && Notation.isLangChainRecord(fields))
    }
  }
}

const isForeign = (value: unknown): boolean => {
  if (value === undefined) return true
  if (typeof value === "number") return !Number.isFinite(value) || Object.is(value, -0)
  if (typeof value !== "object" || value === null || Array.isArray(value)) return false
  return Object.getPrototypeOf(value) !== Object.prototype || (value as Notation.Plain).lc === 2
}
