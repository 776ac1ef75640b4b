/**
 * Ratios as a picture that needs nothing else, drawn without a browser.
 */
import * as Plot from "@observablehq/plot"
import { parseHTML } from "linkedom"
import type { Summary } from "./SideBySide.ts"

export interface Bar extends Summary {
  /** Bars of one row stand together. */
  readonly row: string
  readonly name: string
  /** A line across the bar. */
  readonly target?: number | undefined
}

export interface Options {
  /** What the ratios say. */
  readonly label: string
  /** The names in their order, and their colours. */
  readonly colours: Readonly<Record<string, string>>
}

/** Bars on a logarithmic scale from 1 on, with the middle half of the rounds. The result is SVG. */
export const draw = (bars: ReadonlyArray<Bar>, { colours, label }: Options): string => {
  const rows = [...new Set(bars.map(({ row }) => row))]
  const names = Object.keys(colours)
  const values = bars.flatMap(({ high, low, target }) => [low, high, target ?? 1])
  // With room for the figures beside the bars.
  const domain = [Math.min(1, ...values), 1.3 * Math.max(...values)] as const
  const { document } = parseHTML("<!doctype html><html><body></body></html>")
  const svg = Plot.plot({
    document,
    width: 550 + widthOf(rows) + widthOf(names),
    height: 80 + rows.length * (10 + 13 * names.length),
    marginLeft: widthOf(rows),
    marginRight: widthOf(names),
    marginBottom: 45,
    x: {
      type: "log",
      domain,
      label: `${label}; red: the target`,
      labelAnchor: "center",
      ticks: [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200].filter((tick) => tick >= domain[0] && tick <= domain[1]),
      tickFormat: (times: number) => `${times}×`,
      grid: true
    },
    y: { domain: names, axis: "right", label: null, tickSize: 0 },
    fy: { domain: rows, axis: "left", label: null, padding: 0.2 },
    color: { domain: names, range: Object.values(colours) },
    marks: [
      Plot.barX(bars, { fy: "row", y: "name", x1: 1, x2: "median", fill: "name" }),
      Plot.ruleY(bars, { fy: "row", y: "name", x1: "low", x2: "high", stroke: "#333" }),
      Plot.tickX(
        bars.filter(({ target }) => target !== undefined),
        { fy: "row", y: "name", x: "target", stroke: "#c0392b", strokeWidth: 3 }
      ),
      Plot.text(bars, {
        fy: "row",
        y: "name",
        x: ({ high, median }: Bar) => Math.max(high, median, 1),
        text: ({ median }: Bar) => `${Number(median.toPrecision(3))}×`,
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

/** In pixels, for a text of 11 in whichever sans-serif there is, with some room beside it. */
const widthOf = (texts: ReadonlyArray<string>): number => 20 + 7 * Math.max(...texts.map(({ length }) => length))
