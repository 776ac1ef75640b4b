/**
 * The findings as plots: SVG that needs nothing else, in the colours of the page that they stand in.
 */
import * as Plot from "@observablehq/plot"
import { parseHTML } from "linkedom"
import { callers, kind } from "./phases.ts"
import type { Findings, Moment, PhaseResult } from "./result.ts"
import { bounds } from "./settings.ts"

/** Which colour a phase has, as a variable of the page's style. */
export const colour = ({ callers, groupCommit, mode }: PhaseResult): string =>
  `var(--${groupCommit ? "grouped" : mode === "before" ? (callers === 1 ? "before-alone" : "before") : callers <= 10 ? "after" : "crowd"})`

export const name = (phase: PhaseResult): string => `${kind(phase)}, ${callers(phase)}`

/** What share of the acquisitions took at most how long, on a logarithmic axis. */
export const acquisition = (phases: ReadonlyArray<PhaseResult>): string => {
  const points = phases.flatMap((phase) =>
    phase.acquisitionShape.map((millis, percent) => ({
      name: name(phase),
      colour: colour(phase),
      // A clock ticks in steps, and zero has no place on this axis.
      millis: Math.max(millis, fastest),
      percent
    }))
  )
  return draw("How long acquiring a connection took, before and after", {
    height: 320,
    marginLeft: 44,
    marginBottom: 44,
    marginRight: 24,
    x: {
      type: "log",
      domain: [fastest, 2000],
      label: "milliseconds to acquire a connection →",
      ticks: decades,
      tickFormat: plain
    },
    y: { domain: [0, 100], label: "↑ % of acquisitions", grid: true, ticks: 5 },
    marks: [
      Plot.ruleX([bounds.acquisitionMillis], { stroke: "var(--bound)", strokeDasharray: "4 4" }),
      Plot.text([`promised: under ${bounds.acquisitionMillis} ms`], {
        x: bounds.acquisitionMillis,
        y: 4,
        textAnchor: "end",
        dx: -6,
        fill: "var(--bound)"
      }),
      Plot.line(points, {
        x: "millis",
        y: "percent",
        z: "name",
        stroke: "colour",
        strokeWidth: 2.5,
        curve: "step-after"
      })
    ]
  })
}

const fastest = 0.0001
const decades = [0.0001, 0.001, 0.01, 0.1, 1, 10, 100, 1000]
const plain = (value: number) => (value < 0.001 ? value.toFixed(4) : String(value))

/** Writes in a second, a bar for each phase. */
export const throughput = (phases: ReadonlyArray<PhaseResult>): string =>
  draw("Checkpoints saved in a second, by phase", {
    height: 80 + 34 * phases.length,
    marginLeft: 170,
    marginBottom: 44,
    marginRight: 56,
    x: { label: "checkpoints saved in a second →", grid: true, ticks: 5, nice: true },
    y: { domain: phases.map(name), label: null, tickSize: 0 },
    marks: [
      Plot.barX(phases, { x: "putsPerSecond", y: name, fill: colour, rx: 3 }),
      Plot.text(phases, {
        x: "putsPerSecond",
        y: name,
        text: ({ putsPerSecond }: PhaseResult) => whole.format(putsPerSecond),
        textAnchor: "start",
        dx: 6,
        fill: "currentColor"
      })
    ]
  })

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 })

/** How many callers wait, while far more come than there are connections, from moment to moment. */
export const waiting = ({ maxWaiting, timeline }: Findings["saturation"]): string =>
  over(timeline, "waiting", maxWaiting, "callers that wait", "var(--before)")

/** How many connections are in use meanwhile. */
export const leased = ({ connections, timeline }: Findings["saturation"]): string =>
  over(timeline, "leased", connections, "connections in use", "var(--after)")

const over = (
  timeline: ReadonlyArray<Moment>,
  of: "leased" | "waiting",
  most: number,
  label: string,
  stroke: string
): string => {
  const end = timeline.at(-1)?.at ?? 0
  return draw(label, {
    height: 260,
    marginLeft: 44,
    marginRight: 24,
    marginBottom: 44,
    x: { domain: [0, Math.max(end, 1)], label: "milliseconds since the first caller came →" },
    y: { domain: [0, 1.15 * most], label: `↑ ${label}`, ticks: 5, tickFormat: whole.format, grid: true },
    marks: [
      Plot.areaY(timeline, { x: "at", y: of, fill: stroke, fillOpacity: 0.3, curve: "step-after" }),
      Plot.lineY(timeline, { x: "at", y: of, stroke, strokeWidth: 2, curve: "step-after" }),
      Plot.ruleY([most], { stroke: "var(--bound)", strokeDasharray: "4 4" }),
      Plot.text([`at most ${most}`], { x: end, y: most, textAnchor: "end", dy: -8, fill: "var(--bound)" })
    ]
  })
}

/** With a name for those who can't see it; as wide as there is room. */
const draw = (label: string, options: Plot.PlotOptions): string => {
  const { document } = parseHTML("<!doctype html><html><body></body></html>")
  const svg = Plot.plot({ document, width: 640, style: { background: "none", color: "currentColor" }, ...options })
  // The name of the whole says it; those of its parts would be read aloud, too.
  for (const part of svg.querySelectorAll("[aria-label]")) part.removeAttribute("aria-label")
  svg.setAttribute("role", "img")
  svg.setAttribute("aria-label", label)
  return svg.outerHTML
}
