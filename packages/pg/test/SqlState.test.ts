import { SqlState } from "@checkpool/pg"
import { SqlError } from "@effect/sql"
import { describe, expect, it } from "@effect/vitest"
import { FastCheck as fc } from "effect"

const kinds = ["user", "retryable", "evict", "failover", "saturated", "refused"]
const sqlStates = fc.stringMatching(/^[0-9A-Z]{5}$/)

describe("SqlState", () => {
  it("has a kind for every code", () => {
    fc.assert(fc.property(sqlStates, (code) => kinds.includes(SqlState.kindOf(code))))
  })

  it("evicts for the whole of class 08, and for operator shutdowns", () => {
    fc.assert(fc.property(fc.stringMatching(/^08[0-9A-Z]{3}$/), (code) => SqlState.evicts(code)))
    for (const code of ["57P01", "57P02", "57P03", "57P04", "57P05", "25006"]) expect(SqlState.evicts(code)).toBe(true)
  })

  it("never evicts for an error of the user's own, a cancelled statement, or one worth trying again", () => {
    for (const code of ["23505", "42601", "42P01", "57014", "40001", "40P01", "55P03", "53300"]) {
      expect(SqlState.evicts(code)).toBe(false)
    }
    fc.assert(fc.property(fc.stringMatching(/^(22|23|42)[0-9A-Z]{3}$/), (code) => SqlState.kindOf(code) === "user"))
  })

  it("finds the code through any chain of causes", () => {
    fc.assert(
      fc.property(fc.nat(5), (depth) => {
        let error: unknown = Object.assign(new Error("driver"), { code: "40001" })
        for (let i = 0; i < depth; i++) error = new SqlError.SqlError({ cause: error, message: "wrapped" })
        return SqlState.of(error) === "40001"
      })
    )
  })

  it("does not take a network failure for a code, nor loop on an error that causes itself", () => {
    expect(SqlState.of(Object.assign(new Error(), { code: "EPIPE" }))).toBeUndefined()
    expect(SqlState.of(Object.assign(new Error(), { code: "ECONNRESET" }))).toBeUndefined()
    const loop: { cause?: unknown } = {}
    loop.cause = loop
    expect(SqlState.of(loop)).toBeUndefined()
  })
})
