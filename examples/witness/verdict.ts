/**
 * The mission's criteria, judged from a run's findings: which figure of which phase, against which bound.
 *
 * Time to acquire is judged where there are no more callers than connections: with more, what takes time is the queue,
 * and the question is whether everybody is served.
 */
import { sum } from "./measure.ts"
import type { Findings, PhaseResult } from "./result.ts"
import { bounds } from "./settings.ts"

export interface Verdict {
  readonly criterion: string
  readonly passed: boolean
  /** What was found, and where. */
  readonly figure: string
}

export const judge = (findings: Findings): ReadonlyArray<Verdict> => [
  acquisition(findings),
  improvement(findings),
  reuse(findings),
  exhaustion(findings),
  graceful(findings),
  atomic(findings),
  leaks(findings),
  histograms(findings)
]

const isCrowd = (phase: PhaseResult) => phase.mode === "after" && phase.callers > phase.max
const isCalm = (phase: PhaseResult) => phase.mode === "after" && phase.callers <= phase.max

const millis = (value: number) => `${value < 1 ? value.toFixed(4) : value.toFixed(1)} ms`
const failures = ({ failed }: Pick<PhaseResult, "failed">) => sum(Object.values(failed))

const acquisition = ({ phases }: Findings): Verdict => {
  const calm = phases.filter(isCalm)
  const worst = Math.max(...calm.map(({ acquisition }) => acquisition.p99))
  return {
    criterion: `a connection in less than ${bounds.acquisitionMillis} ms`,
    passed:
      calm.length > 0 && calm.every(({ acquisition }) => acquisition.count > 0) && worst < bounds.acquisitionMillis,
    figure: `p99 ${millis(worst)} with no more callers than connections`
  }
}

/** Against each phase of before in the same place: as many callers, and a single one that has the machine to itself. */
const improvement = ({ phases }: Findings): Verdict => {
  const ratios = phases.filter(isCalm).flatMap((after) => {
    const before = phases.filter(({ mode, place }) => mode === "before" && place === after.place)
    if (before.length === 0) return [0]
    return (["p50", "p95", "p99"] as const).flatMap((p) =>
      before.map(({ acquisition }) => acquisition[p] / after.acquisition[p])
    )
  })
  const least = Math.min(...ratios)
  return {
    criterion: `at least ${bounds.improvement} times faster than before`,
    passed: ratios.length > 0 && least >= bounds.improvement,
    figure: `${least.toFixed(0)} times at the least, of p50, p95 and p99`
  }
}

const reuse = ({ phases }: Findings): Verdict => {
  // Writes that share statements ask for so few connections that a rate says little.
  const rates = phases
    .filter(({ groupCommit, mode }) => mode === "after" && !groupCommit)
    .map(({ acquired, reused }) => reused / acquired)
  const worst = Math.min(...rates)
  return {
    criterion: `more than ${bounds.reuse * 100} % of connections reused`,
    passed: rates.length > 0 && worst > bounds.reuse,
    figure: `${(worst * 100).toFixed(1)} % at the least, where each write takes one from the pool`
  }
}

const exhaustion = ({ phases }: Findings): Verdict => {
  const crowds = phases.filter(isCrowd)
  const puts = sum(crowds.map(({ puts }) => puts))
  const failed = sum(phases.map(failures))
  const peak = Math.max(...crowds.map(({ peak }) => peak))
  return {
    criterion: "no exhaustion under load",
    passed: crowds.length > 0 && puts > 0 && failed === 0 && crowds.every(({ max, peak }) => peak <= max),
    figure:
      `${crowds[0]?.callers ?? 0} callers, ${puts} puts, ${failed} failed; ` +
      `server saw ${peak} connections, max ${crowds[0]?.max ?? 0}`
  }
}

/** Slack for a machine that is busy with answering a thousand callers. */
const slackMillis = 2000

const graceful = ({ saturation: s }: Findings): Verdict => {
  const turned = Object.entries(s.turnedAway)
  const typed = turned.every(([tag]) => tag === "PoolSaturated" || tag === "AcquireTimeout")
  const away = sum(turned.map(([, { count }]) => count))
  return {
    criterion: "graceful when saturated",
    passed:
      typed &&
      s.served > 0 &&
      away > 0 &&
      s.served + away === s.callers &&
      s.unanswered === 0 &&
      s.slowestMillis <= s.acquireTimeoutMillis + slackMillis &&
      s.servedAfterwards,
    figure:
      `${s.served} served, ${turned.map(([tag, { count }]) => `${count} ${tag}`).join(", ")}, ` +
      `${s.unanswered} hung, none waited over ${s.slowestMillis.toFixed(0)} ms`
  }
}

const atomic = ({ integrity: i, interruption }: Findings): Verdict => ({
  criterion: "each write whole or not at all",
  passed:
    i.acked > 0 &&
    i.readBack > 0 &&
    interruption.interrupted > 0 &&
    i.missing + i.unknown + i.withoutBlob + i.withoutCheckpoint + i.different === 0,
  figure:
    `${i.acked} acknowledged, ${i.missing} of them missing; ` +
    `${i.landed} of ${i.doubtful} others there; ${i.withoutBlob + i.withoutCheckpoint + i.different + i.unknown} in part`
})

const leaks = ({ interruption, phases, saturation }: Findings): Verdict => {
  const left = [...phases, saturation, interruption].map(({ left }) => left)
  const leased = sum(left.map(({ leased, waiting }) => leased + waiting))
  const connections = sum(left.map(({ connections }) => connections))
  return {
    criterion: "nothing leaked",
    passed: leased === 0 && connections === 0,
    figure: `${leased} leases still open, ${connections} connections left on the server`
  }
}

const histograms = ({ interruption, phases, saturation }: Findings): Verdict => {
  const all = [...phases, saturation, interruption].map(({ histogram }) => histogram)
  const agree = all.filter(
    ({ count, samples, samplesSum, sum }) =>
      count > 0 && count === samples && Math.abs(sum - samplesSum) <= 1e-6 * Math.max(1, samplesSum)
  )
  return {
    criterion: "the histogram agrees with the samples",
    passed: all.length > 0 && agree.length === all.length,
    figure: `in ${agree.length} of ${all.length} pools, ${sum(all.map(({ count }) => count))} acquisitions in all`
  }
}
