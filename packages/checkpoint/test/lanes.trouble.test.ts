import { SqlError } from "@effect/sql/SqlError"
import { expect, it } from "vitest"
import { kindOf } from "../src/internal/lanes/trouble.ts"

const fromServer = (code: string) =>
  new SqlError({ cause: Object.assign(new Error("by the server"), { code }), message: "Failed to execute statement" })

it.each([
  ["23514", "refused"],
  ["57014", "refused"],
  ["53300", "saturated"],
  ["57P03", "saturated"],
  ["57P01", "lost"],
  ["08006", "lost"],
  ["40P01", "conflict"],
  ["28P01", "fatal"]
] as const)("SQLSTATE %s means %s", (code, kind) => {
  expect(kindOf(fromServer(code))).toBe(kind)
})

it.each([
  [Object.assign(new Error("read ECONNRESET"), { code: "ECONNRESET" }), "lost"],
  [new Error("Connection terminated unexpectedly"), "lost"],
  [new Error("timeout exceeded when trying to connect"), "lost"],
  [new TypeError("not a function"), "refused"]
] as const)("%s means %s", (cause, kind) => {
  expect(kindOf(new SqlError({ cause }))).toBe(kind)
})

// Known by their tags: a client need not be on our pool, so the pool's classes are not at hand.
const fromPool = (_tag: string, cause?: unknown) => Object.assign(new Error("by the pool", { cause }), { _tag })

it.each([
  [fromPool("AcquireTimeout"), "saturated"],
  [fromPool("PoolClosed"), "fatal"],
  // What opening fails with is the pool's matter, as long as it goes on trying.
  [fromPool("PoolUnavailable", fromServer("28P01")), "saturated"]
] as const)("the pool's %s means %s", (cause, kind) => {
  expect(kindOf(new SqlError({ cause }))).toBe(kind)
})
