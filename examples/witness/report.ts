/**
 * The findings for people: a table of the phases, what happened under saturation and interruption, and the verdicts.
 */
import type { Summary } from "./measure.ts"
import { counters } from "./observer.ts"
import { callers, kind } from "./phases.ts"
import type { Findings, PhaseResult } from "./result.ts"
import { adversity } from "./settings.ts"
import { align, type Paint, wrap } from "./table.ts"
import type { Verdict } from "./verdict.ts"

const width = 100

export const render = (findings: Findings, verdicts: ReadonlyArray<Verdict>, paint: Paint): string =>
  [
    ...phasesTable(findings, paint),
    paint.dim("acquisition: from asking for a connection to having an open one; put: from the call to its success"),
    paint.dim("grouped: writes that come together share a statement; else each takes a connection of its own"),
    "",
    ...saturationLines(findings, paint),
    "",
    ...interruptionLines(findings, paint),
    "",
    ...statisticsTable(findings, paint),
    "",
    ...verdictLines(findings, verdicts, paint)
  ].join("\n")

/** Milliseconds with about three digits: 0.0004, 1.23, 45.6, 789. */
export const millis = (value: number): string => {
  const digits = value >= 99.95 ? 0 : value >= 9.995 ? 1 : value >= 0.9995 ? 2 : value >= 0.00995 ? 3 : 4
  return value.toFixed(digits)
}

const percentiles = ({ p50, p95, p99 }: Summary) => [p50, p95, p99].map(millis)

const phasesTable = ({ phases, settings, server }: Findings, paint: Paint): ReadonlyArray<string> => {
  const head = ["", "p50", "p95", "p99", "p50", "p95", "p99", "puts/s", "opened", "reused", "peak", "left"]
  const rows: Array<ReadonlyArray<string>> = [head]
  for (const place of ["direct", "relay"] as const) {
    const here = phases.filter((phase) => phase.place === place)
    if (here.length === 0) continue
    rows.push([
      place === "relay" ? `${settings.roundTripMillis} ms away` : server.embedded ? "on loopback" : "as the URL says"
    ])
    for (const phase of here) {
      rows.push(phaseRow(phase))
      const before = here.find(({ callers, mode }) => mode === "before" && callers === phase.callers)
      if (phase.mode === "after" && before !== undefined) rows.push(ratioRow(before, phase))
    }
  }
  const lines = align(rows)
  const first = Math.max(...rows.slice(1).map(([label = ""]) => label.length))
  const groups = `${" ".repeat(first)}  ${"acquisition, ms".padEnd(groupWidth(rows, 1))}  put, ms`
  return [
    paint.bold(groups),
    paint.bold(lines[0]!),
    ...lines.slice(1).map((line) => (/^\S/.test(line) ? paint.bold(line) : line))
  ]
}

const groupWidth = (rows: ReadonlyArray<ReadonlyArray<string>>, from: number): number =>
  [0, 1, 2].reduce((total, i) => total + 2 + Math.max(...rows.map((row) => row[from + i]?.length ?? 0)), -2)

const phaseRow = (phase: PhaseResult): ReadonlyArray<string> => [
  `  ${kind(phase)}, ${callers(phase)}`,
  ...percentiles(phase.acquisition),
  ...percentiles(phase.put),
  phase.putsPerSecond.toFixed(0),
  String(phase.opened),
  phase.acquired === 0 ? "-" : `${((phase.reused / phase.acquired) * 100).toFixed(1)}%`,
  String(phase.peak),
  String(phase.left.connections + phase.left.leased)
]

const ratioRow = (before: PhaseResult, after: PhaseResult): ReadonlyArray<string> => {
  const ratio = (a: number, b: number) => (b === 0 ? "-" : `${a >= 10 * b ? (a / b).toFixed(0) : (a / b).toFixed(1)}x`)
  return [
    "  times better",
    ...(["p50", "p95", "p99"] as const).map((p) => ratio(before.acquisition[p], after.acquisition[p])),
    ...(["p50", "p95", "p99"] as const).map((p) => ratio(before.put[p], after.put[p])),
    ratio(after.putsPerSecond, before.putsPerSecond)
  ]
}

const saturationLines = ({ saturation: s }: Findings, paint: Paint): ReadonlyArray<string> => [
  paint.bold(
    `Saturation: ${s.callers} callers ${s.arrivalMillis === 0 ? "at once" : `within ${s.arrivalMillis} ms`} on ${s.connections} connections; ` +
      `${s.maxWaiting} may wait, for ${s.acquireTimeoutMillis} ms`
  ),
  ...align(
    [
      ["  served", String(s.served)],
      ...Object.entries(s.turnedAway).map(([tag, { after, count }]) => [
        `  turned away with ${tag}`,
        String(count),
        `told after ${millis(after.p50)} ms (p50), ${millis(after.p99)} ms (p99)`
      ]),
      ["  without an answer", String(s.unanswered)]
    ].map(([label = "", count = "", rest]) => (rest === undefined ? [label, count] : [label, count, rest]))
  )
]

const interruptionLines = ({ integrity, interruption: i }: Findings, paint: Paint): ReadonlyArray<string> => [
  paint.bold(
    `Interruption: ${i.writers} writers, ${adversity.share * 100} % of writes given up after 0 to ` +
      `${adversity.patienceMillis} ms; the server ended ${i.terminated} connections`
  ),
  ...align([
    ["  acknowledged", String(i.puts)],
    ["  interrupted", String(i.interrupted)],
    ...Object.entries(i.failed).map(([tag, count]) => [`  failed with ${tag}`, String(count)]),
    ["  of all that were not acknowledged, in the database", String(integrity.landed)]
  ])
]

const statisticsTable = ({ statistics: { after, before } }: Findings, paint: Paint): ReadonlyArray<string> => {
  const shown = counters.filter((counter) => before[counter] !== null && after[counter] !== null)
  const [head, ...rows] = align([
    ["pg_stat_database", "at the start", "at the end", "difference"],
    ...shown.map((counter) => {
      const [from, to] = [before[counter] ?? 0, after[counter] ?? 0]
      return [`  ${counter}`, String(from), String(to), String(to - from)]
    })
  ])
  return [paint.bold(head!), ...rows]
}

const verdictLines = (findings: Findings, verdicts: ReadonlyArray<Verdict>, paint: Paint): ReadonlyArray<string> => {
  const criterionWidth = Math.max(...verdicts.map(({ criterion }) => criterion.length))
  const indent = criterionWidth + 8
  const failed = verdicts.filter(({ passed }) => !passed).length
  return [
    ...verdicts.flatMap(({ criterion, figure, passed }) => {
      const [first = "", ...more] = wrap(figure, width - indent)
      const word = passed ? paint.good("pass") : paint.bad("FAIL")
      return [
        `${word}  ${criterion.padEnd(criterionWidth)}  ${first}`,
        ...more.map((line) => " ".repeat(indent) + line)
      ]
    }),
    "",
    failed === 0
      ? paint.good(`All ${verdicts.length} criteria hold. (${findings.seconds.toFixed(0)} s)`)
      : paint.bad(`${failed} of ${verdicts.length} criteria don't hold. (${findings.seconds.toFixed(0)} s)`)
  ]
}
