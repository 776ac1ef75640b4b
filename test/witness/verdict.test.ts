import { describe, expect, it } from "@effect/vitest"
import { summary } from "../../examples/witness/measure.ts"
import type { Findings } from "../../examples/witness/result.ts"
import { judge } from "../../examples/witness/verdict.ts"
import { good, isCalm, isCrowd, withPhases } from "./findings.ts"

const failing = (findings: Findings) =>
  judge(findings)
    .filter(({ passed }) => !passed)
    .map(({ criterion }) => criterion)

const inRelay = (chosen: typeof isCalm) => (phase: Parameters<typeof isCalm>[0]) =>
  chosen(phase) && phase.place === "relay"

const saturation = (change: Partial<Findings["saturation"]>): Findings => ({
  ...good,
  saturation: { ...good.saturation, ...change }
})
const integrity = (change: Partial<Findings["integrity"]>): Findings => ({
  ...good,
  integrity: { ...good.integrity, ...change }
})
const interruption = (change: Partial<Findings["interruption"]>): Findings => ({
  ...good,
  interruption: { ...good.interruption, ...change }
})

const acquisition = "a connection in less than 10 ms"
const improvement = "at least 10 times faster than before"
const reuse = "more than 90 % of connections reused"
const exhaustion = "no exhaustion under load"
const graceful = "graceful when saturated"
const atomic = "each write whole or not at all"
const leaks = "nothing leaked"
const histogram = "the histogram agrees with the samples"

describe("The verdict", () => {
  it("has one line for each criterion, and all hold in a good run", () => {
    expect(judge(good).map(({ criterion }) => criterion)).toEqual([
      acquisition,
      improvement,
      reuse,
      exhaustion,
      graceful,
      atomic,
      leaks,
      histogram
    ])
    expect(failing(good)).toEqual([])
  })

  const nearlyAll = [...Array.from({ length: 98 }, () => 0.001), 10, 10]
  const { histogram: fine, left } = good.phases[0]!
  const cases: ReadonlyArray<readonly [what: string, findings: Findings, fails: ReadonlyArray<string>]> = [
    [
      "the 99th percentile is 10 ms",
      withPhases(inRelay(isCalm), { acquisition: summary(nearlyAll) }),
      [acquisition, improvement]
    ],
    ["it is 9 times faster", withPhases(inRelay(isCalm), { acquisition: summary([6 / 9]) }), [improvement]],
    [
      "it is 10 times faster only than openers in a crowd",
      withPhases(isCalm, { acquisition: summary([1]) }),
      [improvement]
    ],
    ["nothing was acquired", withPhases(isCalm, { acquisition: summary([]) }), [acquisition]],
    ["90 % are reused in one phase", withPhases(inRelay(isCrowd), { reused: 900 }), [reuse]],
    ["a put in a crowd fails", withPhases(inRelay(isCrowd), { failed: { AcquireTimeout: 1 } }), [exhaustion]],
    ["the server saw more connections than allowed", withPhases(inRelay(isCrowd), { peak: 101 }), [exhaustion]],
    ["there was no crowd", { ...good, phases: good.phases.filter((phase) => !isCrowd(phase)) }, [exhaustion]],
    ["a caller hangs", saturation({ served: 99, unanswered: 1 }), [graceful]],
    ["an answer is lost", saturation({ served: 99 }), [graceful]],
    ["nobody is served", saturation({ callers: 300, served: 0 }), [graceful]],
    ["nobody is turned away", saturation({ served: 400, turnedAway: {} }), [graceful]],
    [
      "an error has no type",
      saturation({ turnedAway: { ...good.saturation.turnedAway, Defect: { count: 0, after: summary([]) } } }),
      [graceful]
    ],
    ["an answer takes seconds", saturation({ slowestMillis: 2200 }), [graceful]],
    ["the pool stays stuck", saturation({ servedAfterwards: false }), [graceful]],
    ["an acknowledged put is missing", integrity({ missing: 1 }), [atomic]],
    ["a checkpoint lacks a value", integrity({ withoutBlob: 1 }), [atomic]],
    ["a value lacks its checkpoint", integrity({ withoutCheckpoint: 1 }), [atomic]],
    ["a value differs", integrity({ different: 1 }), [atomic]],
    ["a stranger's checkpoint turns up", integrity({ unknown: 1 }), [atomic]],
    ["nothing was read back", integrity({ readBack: 0 }), [atomic]],
    ["nothing was interrupted", interruption({ interrupted: 0 }), [atomic]],
    ["a lease is open", withPhases(isCalm, { left: { ...left, leased: 1 } }), [leaks]],
    ["a caller still waits", saturation({ left: { ...left, waiting: 1 } }), [leaks]],
    ["a connection stays on the server", interruption({ left: { ...left, connections: 1 } }), [leaks]],
    ["the histogram misses a sample", withPhases(inRelay(isCalm), { histogram: { ...fine, count: 999 } }), [histogram]],
    ["its sum is off", saturation({ histogram: { ...fine, sum: 1.6 } }), [histogram]],
    ["it is empty", interruption({ histogram: { count: 0, sum: 0, samples: 0, samplesSum: 0 } }), [histogram]]
  ]

  it.each(cases)("fails when %s", (_, findings, fails) => {
    expect(failing(findings)).toEqual(fails)
  })
})
