/**
 * The ratios of a run as a picture.
 */
import * as Picture from "@checkpool/benchmark/Picture"
import type { Row } from "./row.ts"

const colours = {
  ours: "#0b6e99",
  "without group commit": "#8fc1d6",
  "ours on sql-pg": "#b08bbf",
  pgbench: "#b5b5b5"
}

/** How many times as fast as the stock saver, with the middle half of the rounds. */
export const picture = (rows: ReadonlyArray<Row>, machine: string): string => {
  const bars = rows.flatMap(({ cells, name, target }) =>
    cells.flatMap(({ ratio, variant }) =>
      ratio === undefined ? [] : [{ row: name, name: variant, ...ratio, ...(variant === "ours" ? { target } : {}) }]
    )
  )
  return Picture.draw(bars, { colours, label: `times as fast as the stock saver (${machine})` })
}
