/**
 * One line of a table, and of the picture: some work, done by all variants.
 */
import type { Result, Summary } from "@checkpool/benchmark/SideBySide"
import { figure, verdict } from "@checkpool/benchmark/Verdict"

export interface Goal {
  readonly text: string
  /** What it takes, 1 being just enough. Misses by up to 15 % are within the floor. */
  readonly reached: number
}

export interface Cell {
  readonly variant: string
  readonly value: number
  /** In relation to the stock saver; not there for itself. */
  readonly ratio: Summary | undefined
}

export interface Row {
  readonly name: string
  readonly cells: ReadonlyArray<Cell>
  readonly goals: ReadonlyArray<Goal>
  /** The least ratio that ours has to reach, if there is one. */
  readonly target: number | undefined
}

/** The first variant is the stock saver, the second is ours. */
export const make = (
  name: string,
  variants: ReadonlyArray<string>,
  results: ReadonlyArray<Result>,
  target: number | undefined,
  more: ReadonlyArray<Goal> = []
): Row => {
  const stock = results[0]!
  const cells = results.map((result, i) => ({
    variant: variants[i]!,
    value: result.value.median,
    ratio: i === 0 ? undefined : result.against(stock)
  }))
  const ratio = cells[1]!.ratio!.median
  return {
    name,
    cells,
    goals: target === undefined ? more : [{ text: `≥ ${target}×`, reached: ratio / target }, ...more],
    target
  }
}

/** The first two lines of a table in Markdown. */
export const head = (unit: string, variants: ReadonlyArray<string>): string => {
  const cells = ["", ...variants.map((variant, i) => (i === 0 ? `${variant}, ${unit}` : variant)), "target"]
  return `| ${cells.join(" | ")} |\n|${" --- |".repeat(cells.length)}`
}

export const line = ({ cells, goals, name }: Row, variants: ReadonlyArray<string>): string => {
  const columns = variants.map((variant) => {
    const cell = cells.find((each) => each.variant === variant)
    if (cell === undefined) return ""
    if (cell.ratio === undefined) return figure(cell.value)
    const { high, low, median } = cell.ratio
    return `${figure(cell.value)} (**${figure(median)}×**, ${figure(low)}–${figure(high)})`
  })
  const verdicts = goals.map(({ reached, text }) => `${text}: ${verdict(reached)}`)
  return `| ${[name, ...columns, verdicts.join("; ")].join(" | ")} |`
}
