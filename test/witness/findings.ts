import { shape, summary } from "../../examples/witness/measure.ts"
import { counters, type Statistics } from "../../examples/witness/observer.ts"
import type { Findings, Mode, PhaseResult } from "../../examples/witness/result.ts"
import { defaults } from "../../examples/witness/settings.ts"
import type { Place } from "../../examples/witness/target.ts"

const histogram = { count: 1000, sum: 1.5, samples: 1000, samplesSum: 1.5 }
const left = { leased: 0, waiting: 0, connections: 0 }

const phase = (
  place: Place,
  mode: Mode,
  callers: number,
  acquisitionMillis: number,
  groupCommit = false
): PhaseResult => ({
  place,
  mode,
  callers,
  groupCommit,
  max: 100,
  seconds: 2.5,
  puts: 1000,
  failed: {},
  acquisition: summary([acquisitionMillis, 2 * acquisitionMillis]),
  acquisitionShape: shape([acquisitionMillis, 2 * acquisitionMillis]),
  put: summary([5, 10]),
  putsPerSecond: 400,
  acquired: 1000,
  reused: mode === "before" ? 0 : 950,
  opened: mode === "before" ? 1000 : 50,
  peak: 50,
  left,
  histogram
})

const statistics = (value: number): Statistics =>
  Object.fromEntries(counters.map((counter) => [counter, value])) as Statistics

/** Of a run in which each criterion holds. */
export const good: Findings = {
  server: {
    version: "18.4",
    maxConnections: 120,
    reserved: 0,
    used: 1,
    free: 119,
    mayCreate: true,
    user: "postgres",
    database: "postgres",
    embedded: true
  },
  remarks: [],
  settings: defaults,
  pool: { min: 10, max: 100 },
  phases: (["direct", "relay"] as const).flatMap((place) => [
    phase(place, "before", 1, 6),
    phase(place, "before", 10, 50),
    phase(place, "after", 10, 0.002),
    phase(place, "after", 400, 300),
    phase(place, "after", 400, 3, true)
  ]),
  saturation: {
    callers: 400,
    arrivalMillis: 200,
    connections: 5,
    maxWaiting: 100,
    acquireTimeoutMillis: 150,
    served: 100,
    turnedAway: {
      PoolSaturated: { count: 200, after: summary([0.2]) },
      AcquireTimeout: { count: 100, after: summary([151]) }
    },
    unanswered: 0,
    slowestMillis: 170,
    servedAfterwards: true,
    timeline: [
      { at: 0, leased: 5, idle: 0, waiting: 40 },
      { at: 100, leased: 5, idle: 0, waiting: 100 },
      { at: 200, leased: 0, idle: 5, waiting: 0 }
    ],
    left,
    histogram
  },
  interruption: {
    writers: 20,
    puts: 1000,
    interrupted: 300,
    failed: { "SQLSTATE 57P01": 10 },
    terminated: 12,
    left,
    histogram
  },
  integrity: {
    acked: 9000,
    doubtful: 610,
    missing: 0,
    landed: 120,
    unknown: 0,
    withoutBlob: 0,
    withoutCheckpoint: 0,
    readBack: 1000,
    different: 0
  },
  statistics: { before: statistics(10), after: statistics(20_000) },
  seconds: 25
}

export const isCalm = (phase: PhaseResult) => phase.mode === "after" && phase.callers === 10
export const isCrowd = (phase: PhaseResult) => phase.mode === "after" && phase.callers === 400

/** The same, with the phases changed that are chosen. */
export const withPhases = (chosen: (phase: PhaseResult) => boolean, change: Partial<PhaseResult>): Findings => ({
  ...good,
  phases: good.phases.map((phase) => (chosen(phase) ? { ...phase, ...change } : phase))
})
