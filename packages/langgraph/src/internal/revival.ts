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
  (holder: Record<string, unknown>, key: string): Replace =>
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
    const kept: Record<string, unknown> = {}
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
  for (const key of Object.keys(fields)) {
    if (key !== Notation.escaped) visit(fields[key], into(fields, key), jobs)
  }
}

/** What stands in the place of values that `load`, which takes a text, can't be given: it asks for secrets by name. */
const secret = (name: string): Notation.Plain => ({ lc: 1, type: "secret", id: [name] })

const loadRecord = (record: Notation.LangChainRecord, secretsMap: Record<string, unknown>): Promise<unknown> =>
  // The values come from our own tables and were as deep when they were put.
  load(JSON.stringify(record), { secretsMap, maxDepth: Number.POSITIVE_INFINITY })

/** Leaves JSON in place, LangChain's records included, and moves all else to `kept`. */
const keepForeign = (value: object, kept: Record<string, unknown>, jobs: Array<Job>): void => {
  const fields = value as Record<string, unknown>
  for (const key of Object.keys(fields)) {
    const child = fields[key]
    if (isForeign(child, Array.isArray(value))) {
      const name = `checkpool ${Object.keys(kept).length}`
      kept[name] = child
      fields[key] = secret(name)
      visit(child, into(kept, name), jobs)
    } else if (typeof child === "object" && child !== null && key !== Notation.escaped) {
      keepForeign(child, kept, jobs)
    }
  }
}

const isForeign = (value: unknown, inArray: boolean): boolean => {
  // LangChain's constructors tell a missing argument from one that is undefined, and the stock reader drops the latter.
  if (value === undefined) return inArray
  if (typeof value === "number") return !Number.isFinite(value) || Object.is(value, -0)
  if (typeof value !== "object" || value === null || Array.isArray(value)) return false
  return Object.getPrototypeOf(value) !== Object.prototype || (value as Notation.Plain).lc === 2
}
