/**
 * Results as tables with verdicts.
 */
import type { Result, Summary } from "@checkpool/benchmark/SideBySide"
import { figure, verdict } from "@checkpool/benchmark/Verdict"

/** How many times as long as `use` something has to take at least, or at most. */
export interface Target {
  readonly sense: "at least" | "at most"
  readonly times: number
}

export interface Row {
  readonly name: string
  readonly nanos: number
  /** How many times as long as `use` it takes; not there for `use` itself. */
  readonly times: Summary | undefined
  readonly target: Target | undefined
}

export const rows = (
  names: ReadonlyArray<string>,
  results: ReadonlyArray<Result>,
  targets: Readonly<Record<string, Target>>
): ReadonlyArray<Row> =>
  results.map((result, i) => ({
    name: names[i]!,
    nanos: result.value.median,
    times: i === 0 ? undefined : results[0]!.against(result),
    target: targets[names[i]!]
  }))

export const markdown = (title: string, rows: ReadonlyArray<Row>): string =>
  [`| ${title} | ns | times as long as \`use\` | target |`, "| --- | --- | --- | --- |", ...rows.map(line)].join("\n")

const line = ({ name, nanos, target, times }: Row): string => {
  const ratio = times === undefined ? "" : `**${figure(times.median)}×** (${figure(times.low)}–${figure(times.high)})`
  return `| ${name} | ${figure(nanos)} | ${ratio} | ${goal(target, times)} |`
}

const goal = (target: Target | undefined, times: Summary | undefined): string => {
  if (target === undefined || times === undefined) return ""
  const reached = target.sense === "at least" ? times.median / target.times : target.times / times.median
  return `${target.sense} ${figure(target.times)}×: ${verdict(reached)}`
}
