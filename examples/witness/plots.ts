/**
 * The findings as plots: SVG that needs nothing else, in the colours of the page that they stand in.
 */
import * as Plot from "@observablehq/plot"
import { parseHTML } from "linkedom"
import { callers, kind } from "./phases.ts"
import type { Findings, PhaseResult } from "./result.ts"
import { bounds } from "./settings.ts"

/** Which colour a phase has, as a variable of the page's style. */
export const colour = ({ callers, groupCommit, max, mode }: PhaseResult): string => {
  if (groupCommit) return "var(--grouped)"
  if (mode === "before") return callers === 1 ? "var(--before-alone)" : "var(--before)"
  return callers <= max ? "var(--after)" : "var(--crowd)"
}

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
  return draw("How long acquiring a connection took, before and after", (narrow) => ({
    height: narrow ? 260 : 320,
    marginLeft: 44,
    marginBottom: 44,
    marginRight: 24,
    x: {
      type: "log",
      domain: [fastest, 2000],
      label: "milliseconds to acquire a connection →",
      ticks: narrow ? decades.filter((_, i) => i % 2 === 1) : decades,
      tickFormat: plain
    },
    y: { domain: [0, 100], label: "↑ % of acquisitions", grid: true, ticks: 5 },
    marks: [
      Plot.ruleX([bounds.acquisitionMillis], { stroke: "var(--bound)", strokeDasharray: "4 4" }),
      Plot.text([`promised: under ${bounds.acquisitionMillis} ms`], {
        x: bounds.acquisitionMillis,
        y: 50,
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
  }))
}

const fastest = 0.0001
const decades = [0.0001, 0.001, 0.01, 0.1, 1, 10, 100, 1000]
const plain = (value: number) => (value < 0.001 ? value.toFixed(4) : String(value))

/** Writes in a second, a bar for each phase. */
export const throughput = (phases: ReadonlyArray<PhaseResult>): string =>
  draw("Checkpoints saved in a second, by phase", (narrow) => ({
    height: 80 + 34 * phases.length,
    marginLeft: narrow ? 140 : 170,
    marginBottom: 44,
    marginRight: 56,
    x: { label: "checkpoints saved in a second →", grid: true, ticks: narrow ? 2 : 5, nice: true },
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
  }))

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 })

/** How many callers wait, while far more come than there are connections, from moment to moment. */
export const waiting = ({ maxWaiting, timeline }: Findings["saturation"]): string =>
  over(
    timeline.map(({ at, waiting }) => ({ at, n: waiting, colour: "var(--before)" })),
    maxWaiting,
    "callers that wait"
  )

/** How many connections are in use meanwhile, and on top of them how many are idle. */
export const connections = ({ connections, timeline }: Findings["saturation"]): string =>
  over(
    timeline.flatMap(({ at, idle, leased }) => [
      { at, n: leased, colour: "var(--after)" },
      { at, n: idle, colour: "var(--idle)" }
    ]),
    connections,
    "connections in use and idle"
  )

const over = (
  points: ReadonlyArray<{ readonly at: number; readonly n: number; readonly colour: string }>,
  most: number,
  label: string
): string => {
  const end = points.at(-1)?.at ?? 0
  return draw(label, (narrow) => ({
    height: narrow ? 200 : 260,
    marginLeft: 44,
    marginRight: 24,
    marginBottom: 44,
    x: { domain: [0, Math.max(end, 1)], ticks: narrow ? 4 : 8, label: "milliseconds since the first caller came →" },
    y: { domain: [0, 1.15 * most], label: `↑ ${label}`, ticks: 5, tickFormat: whole.format, grid: true },
    marks: [
      Plot.areaY(points, { x: "at", y: "n", z: "colour", fill: "colour", fillOpacity: 0.6, curve: "step-after" }),
      Plot.ruleY([most], { stroke: "var(--bound)", strokeDasharray: "4 4" }),
      Plot.text([`at most ${most}`], { x: end, y: most, textAnchor: "end", dy: -8, fill: "var(--bound)" })
    ]
  }))
}

/**
 * With a name for those who can't see it. Drawn twice: for a wide page, and for a phone, where a picture that is scaled down
 * could not be read. The page's style shows one of them.
 */
const draw = (label: string, options: (narrow: boolean) => Plot.PlotOptions): string => {
  const { document } = parseHTML("<!doctype html><html><body></body></html>")
  const style = { background: "none", color: "currentColor" }
  return [false, true]
    .map((narrow) => {
      const svg = Plot.plot({ document, width: narrow ? 340 : 640, style, ...options(narrow) })
      // The name of the whole says it; those of its parts would be read aloud, too.
      for (const part of svg.querySelectorAll("[aria-label]")) part.removeAttribute("aria-label")
      svg.setAttribute("role", "img")
      svg.setAttribute("aria-label", label)
      svg.classList.add(narrow ? "narrow" : "wide")
      return svg.outerHTML
    })
    .join("")
}
