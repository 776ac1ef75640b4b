import { describe, expect, it } from "@effect/vitest"
import { millis, render } from "../../examples/witness/report.ts"
import { align, colours, plain, wrap } from "../../examples/witness/table.ts"
import { judge } from "../../examples/witness/verdict.ts"
import { good, isCalm, withPhases } from "./findings.ts"

const report = (findings = good, paint = plain) => render(findings, judge(findings), paint)

describe("The report", () => {
  it("fits into 100 columns", () => {
    for (const line of report().split("\n")) expect(line.length, line).toBeLessThanOrEqual(100)
  })

  it("has a row for each phase and the ratio where there were as many callers", () => {
    const lines = report().split("\n")
    expect(lines.filter((line) => /^ {2}(before|after|grouped), \d+ caller/.test(line)).length).toBe(10)
    const ratios = lines.filter((line) => line.startsWith("  times better"))
    expect(ratios.length).toBe(2)
    expect(ratios[0]).toMatch(/25000x +25000x +25000x/)
  })

  it("aligns its columns", () => {
    const rows = report()
      .split("\n")
      .filter((line) => /^ {2}(before|after|grouped), \d+ caller/.test(line))
    expect(new Set(rows.map(({ length }) => length)).size).toBe(1)
  })

  it("says which error turned callers away, and what the server counted", () => {
    expect(report()).toMatch(/turned away with PoolSaturated +200 +told after 0\.200 ms/)
    expect(report()).toMatch(/xact_commit +10 +20000 +19990/)
  })

  it("leaves out counters that the server does not have", () => {
    const { after, before } = good.statistics
    const text = report({
      ...good,
      statistics: { before: { ...before, sessions: null }, after: { ...after, sessions: null } }
    })
    expect(text).not.toMatch(/ {2}sessions +\d/)
  })

  it("ends with whether all criteria hold", () => {
    expect(report()).toMatch(/All 8 criteria hold\. \(25 s\)$/)
    const bad = report(withPhases(isCalm, { reused: 0 }))
    expect(bad).toMatch(/^FAIL {2}more than 90 % of connections reused/m)
    expect(bad).toMatch(/1 of 8 criteria don't hold\. \(25 s\)$/)
  })

  it("has colours only where they are asked for", () => {
    expect(report()).not.toContain("\u001b")
    expect(report(good, colours)).toContain("\u001b[32mpass\u001b[39m")
  })

  it("writes milliseconds with three digits or so", () => {
    expect([0.00042, 0.0234, 0.9996, 9.99, 45.67, 123.4].map(millis)).toEqual([
      "0.0004",
      "0.023",
      "1.00",
      "9.99",
      "45.7",
      "123"
    ])
  })
})

describe("A table", () => {
  it("has each column as wide as its widest cell", () => {
    expect(
      align([
        ["a", "1", "22"],
        ["bbb", "333"]
      ])
    ).toEqual(["a      1  22", "bbb  333"])
  })

  it("wraps between words", () => {
    expect(wrap("one two three", 8)).toEqual(["one two", "three"])
    expect(wrap("a word that is-much-too-long", 6)).toEqual(["a word", "that", "is-much-too-long"])
  })
})
