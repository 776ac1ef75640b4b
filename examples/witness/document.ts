/**
 * The findings as one HTML document that asks nobody for anything: it can be mailed, kept and opened anywhere.
 */
import * as Plots from "./plots.ts"
import { millis } from "./report.ts"
import type { Findings, PhaseResult } from "./result.ts"
import { style } from "./style.ts"
import type { Verdict } from "./verdict.ts"

export const document = (findings: Findings, verdicts: ReadonlyArray<Verdict>, at: Date): string => {
  const { phases, pool, saturation, seconds, server, settings } = findings
  const failed = verdicts.filter(({ passed }) => !passed).length
  const titles = {
    direct: server.embedded ? "On loopback" : "At the URL",
    relay: `${settings.roundTripMillis} ms away`
  }
  const places = (["direct", "relay"] as const)
    .map((place) => ({ title: titles[place], phases: phases.filter((phase) => phase.place === place) }))
    .filter(({ phases }) => phases.length > 0)
  const inPlaces = (plot: (phases: ReadonlyArray<PhaseResult>) => string) =>
    places.map(({ phases, title }) => `<figure><figcaption>${title}</figcaption>${plot(phases)}</figure>`).join("")
  const kinds = new Map(phases.map((phase) => [Plots.name(phase), phase]))
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>checkpool: ${failed === 0 ? "all criteria hold" : `${failed} criteria don't hold`}</title>
<style>${style}</style>
</head>
<body>
<header>
<h1>The witness of checkpool</h1>
<p>PostgreSQL ${escape(server.version)}, a pool of ${pool.min} to ${pool.max} connections, ${seconds.toFixed(0)} s,
<time datetime="${at.toISOString()}">${at.toUTCString()}</time>.</p>
<p class="verdict ${failed === 0 ? "good" : "bad"}">${
    failed === 0 ? `All ${verdicts.length} criteria hold.` : `${failed} of ${verdicts.length} criteria don’t hold.`
  }</p>
</header>
<main>
<section aria-labelledby="criteria"><h2 id="criteria">Criteria</h2>
${table(
  ["", "Criterion", "Found"],
  verdicts.map(({ criterion, figure, passed }) => [passed ? "pass" : "FAIL", criterion, figure]),
  "criteria"
)}
</section>
<section aria-labelledby="acquisition"><h2 id="acquisition">Time to acquire a connection</h2>
<p>Before: each write opens a connection and uses it once. After: it takes one from the pool. The further to the left a
line climbs, the sooner callers had their connection; each step to the left on this axis is ten times faster. With more callers than connections the time passes in the queue.</p>
<ul class="legend">${[...kinds].map(([name, phase]) => `<li><i style="background: ${Plots.colour(phase)}"></i>${name}</li>`).join("")}</ul>
<div class="plots">${inPlaces(Plots.acquisition)}</div>
</section>
<section aria-labelledby="throughput"><h2 id="throughput">Throughput</h2>
<p>“Grouped” lets writes that come together share a statement; in the other phases each takes a connection of its own.</p>
<div class="plots">${inPlaces(Plots.throughput)}</div>
</section>
<section aria-labelledby="saturation"><h2 id="saturation">Saturation</h2>
<p>${saturation.callers} callers ${
    saturation.arrivalMillis === 0 ? "at once" : `within ${saturation.arrivalMillis} ms`
  } on ${saturation.connections} connections. ${saturation.maxWaiting} may wait, for ${saturation.acquireTimeoutMillis} ms;
who comes to a full queue is told so at once. ${saturation.served} were served, ${saturation.unanswered} got no answer.</p>
<div class="plots"><figure><figcaption>Waiting</figcaption>${Plots.waiting(saturation)}</figure>
<figure><figcaption><i style="background: var(--after)"></i>In use, <i style="background: var(--idle)"></i>idle</figcaption>${Plots.connections(saturation)}</figure></div>
</section>
<section aria-labelledby="figures"><h2 id="figures">Figures</h2>
${places.map(({ phases, title }) => `<h3>${title}</h3>${table(head, phases.map(row), "figures")}`).join("")}
<p>Milliseconds. Acquisition: from asking for a connection to having an open one; put: from the call to its success.</p>
</section>
</main>
<footer><p>Made by <code>npm start</code>. <code>npm start -- --help</code> says what else it does.</p></footer>
</body>
</html>
`
}

const head = ["Phase", "Acquire p50", "p95", "p99", "Put p50", "p95", "p99", "Puts/s", "Opened", "Reused", "Failed"]

const row = (phase: PhaseResult): ReadonlyArray<string> => [
  Plots.name(phase),
  ...[phase.acquisition, phase.put].flatMap(({ p50, p95, p99 }) => [p50, p95, p99].map(millis)),
  phase.putsPerSecond.toFixed(0),
  String(phase.opened),
  phase.acquired === 0 ? "–" : `${((100 * phase.reused) / phase.acquired).toFixed(1)} %`,
  String(Object.values(phase.failed).reduce((sum, n) => sum + n, 0))
]

const table = (head: ReadonlyArray<string>, rows: ReadonlyArray<ReadonlyArray<string>>, kind: string): string =>
  `<div class="scroll" tabindex="0" role="region" aria-label="${kind}"><table class="${kind}"><thead><tr>${head
    .map((cell) => `<th scope="col">${escape(cell)}</th>`)
    .join("")}</tr></thead><tbody>${rows
    .map((cells) => `<tr class="${cells[0]}">${cells.map((cell) => `<td>${escape(cell)}</td>`).join("")}</tr>`)
    .join("")}</tbody></table></div>`

const escape = (text: string): string => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll('"', "&quot;")
