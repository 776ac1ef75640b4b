import * as NodeFs from "node:fs"
import * as NodePath from "node:path"
import { pathToFileURL } from "node:url"
import { describe, expect, it } from "@effect/vitest"
import { Effect } from "effect"
import { document } from "../../examples/witness/document.ts"
import type { Findings } from "../../examples/witness/result.ts"
import * as Saved from "../../examples/witness/saved.ts"
import { judge } from "../../examples/witness/verdict.ts"
import { audit, browser, executablePath, open } from "../../packages/observability/test/browser.ts"
import { good, isCalm, withPhases } from "./findings.ts"
import { temporaryFolder } from "./program.ts"

const documentOf = (findings: Findings = good) => document(findings, judge(findings), new Date(0))

/** The plots, by what they say that they are. */
const plots = (html: string) =>
  [...html.matchAll(/<svg aria-label="([^"]*)"[^>]* wide">[\s\S]*?<\/svg>/g)].map(([svg, label]) => ({ svg, label }))

describe("The document", () => {
  it("asks nobody for anything", () => {
    const html = documentOf()
    expect(html).not.toMatch(/<(script|link|img|iframe|object)\b|@import|url\(|\bsrc=/)
    expect(html).toContain(`content="default-src 'none'; style-src 'unsafe-inline'"`)
  })

  it("plots each place: acquisition, throughput, and the saturation", () => {
    const found = plots(documentOf())
    expect(found.map(({ label }) => label)).toEqual([
      "How long acquiring a connection took, before and after",
      "How long acquiring a connection took, before and after",
      "Checkpoints saved in a second, by phase",
      "Checkpoints saved in a second, by phase",
      "callers that wait",
      "connections in use and idle"
    ])
    const lines = [...found[0]!.svg.matchAll(/<path d="M(-?[\d.]+)[^>]*stroke="var\(--([a-z-]+)\)"/g)]
    const from = Object.fromEntries(lines.map(([, x, colour = ""]) => [colour, Number(x)]))
    // Further to the left is faster: 0.002 ms with the pool, 6 ms with a connection for each write, 50 ms with ten at once.
    expect(Object.keys(from).sort()).toEqual(["after", "before", "before-alone", "crowd", "grouped"])
    expect(from.after).toBeLessThan(from["before-alone"]!)
    expect(from["before-alone"]).toBeLessThan(from.before!)
  })

  it("says which criteria hold", () => {
    expect(documentOf()).toContain("All 8 criteria hold.")
    const bad = documentOf(withPhases(isCalm, { reused: 0 }))
    expect(bad).toContain("1 of 8 criteria don’t hold.")
    expect(bad).toMatch(/<tr class="FAIL"><td>FAIL<\/td><td>more than 90 % of connections reused/)
  })

  it("quotes what the server says of itself", () => {
    const server = { ...good.server, version: `18 <script>alert("1")</script>` }
    expect(documentOf({ ...good, server })).toContain("18 &lt;script>alert(&quot;1&quot;)")
  })

  it.scopedLive("is a page that works alone: light and dark, on a phone, with enough contrast", (test) =>
    Effect.gen(function* () {
      if (executablePath === undefined) test.skip("there is no Chromium on this machine")
      const path = NodePath.join(yield* temporaryFolder, "report.html")
      expect(yield* Saved.save(path, good, judge(good))).toBe(`With plots: ${path}`)
      const chromium = yield* browser
      const url = pathToFileURL(path).href
      for (const options of [{}, { dark: true, width: 360 }]) {
        const { complaints, page, requests } = yield* open(chromium, url, options)
        expect(yield* Effect.promise(() => page.locator("svg:visible").count())).toBe(6)
        const wider = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
        expect(yield* Effect.promise(() => page.evaluate(wider))).toBe(false)
        expect(yield* audit(page)).toEqual([])
        expect({ complaints, requests }).toEqual({ complaints: [], requests: [url] })
      }
    })
  )
})

describe("A place for the report", () => {
  it.scopedLive("is looked at before the run", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder
      yield* Saved.check(NodePath.join(folder, "new.html"))
      const nowhere = NodePath.join(folder, "nowhere", "report.html")
      const error = yield* Effect.flip(Saved.check(nowhere))
      expect(error.message).toMatch(
        /^The report can't be written to .*ENOENT.* Choose another place with --report FILE\.$/
      )
      expect(NodeFs.readdirSync(folder)).toEqual([])
    })
  )
})
