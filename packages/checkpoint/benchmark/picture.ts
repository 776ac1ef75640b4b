/**
 * The ratios of a run as a picture that needs nothing else, drawn without a browser.
 */
import * as Plot from "@observablehq/plot"
import { parseHTML } from "linkedom"
import type { Row } from "./row.ts"

const colours: Readonly<Record<string, string>> = {
  ours: "#0b6e99",
  "without group commit": "#8fc1d6",
  "ours on sql-pg": "#b08bbf",
  pgbench: "#b5b5b5"
}

/** How many times as fast as the stock saver, with the middle half of the rounds. A line marks the target. */
export const picture = (rows: ReadonlyArray<Row>, machine: string): string => {
  const bars = rows.flatMap(({ cells, name }) =>
    cells.flatMap(({ ratio, variant }) => (ratio === undefined ? [] : [{ name, variant, ...ratio }]))
  )
  const targets = rows.filter(({ target }) => target !== undefined)
  const { document } = parseHTML("<!doctype html><html><body></body></html>")
  const svg = Plot.plot({
    document,
    width: 960,
    height: 80 + 58 * rows.length,
    marginLeft: 250,
    marginRight: 130,
    marginBottom: 45,
    x: {
      type: "log",
      // With room for the figures beside the bars.
      domain: [Math.min(1, ...bars.map(({ low }) => low)), 1.3 * Math.max(...bars.map(({ high }) => high))],
      label: `times as fast as the stock saver (${machine}); the line: the target`,
      labelAnchor: "center",
      ticks: [1, 2, 5, 10, 20, 50, 100],
      tickFormat: (times: number) => `${times}×`,
      grid: true
    },
    y: { domain: Object.keys(colours), axis: "right", label: null, tickSize: 0 },
    fy: { domain: rows.map(({ name }) => name), axis: "left", label: null, padding: 0.25 },
    color: { domain: Object.keys(colours), range: Object.values(colours) },
    marks: [
      Plot.barX(bars, { fy: "name", y: "variant", x1: 1, x2: "median", fill: "variant" }),
      Plot.ruleY(bars, { fy: "name", y: "variant", x1: "low", x2: "high", stroke: "#333" }),
      Plot.tickX(targets, { fy: "name", x: "target", stroke: "#c0392b", strokeWidth: 3 }),
      Plot.text(bars, {
        fy: "name",
        y: "variant",
        x: "high",
        text: ({ median }: { readonly median: number }) => `${Number(median.toPrecision(3))}×`,
        textAnchor: "start",
        dx: 6,
        fill: "black",
        stroke: "white"
      }),
      Plot.ruleX([1])
    ]
  })
  svg.setAttribute("xmlns", "http://www.w3.org/2000/svg")
  svg.setAttribute("style", "background: white; font: 11px sans-serif")
  return svg.outerHTML
}
