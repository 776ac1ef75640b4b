import * as NodeFs from "node:fs"
import axe from "axe-core"
import { Effect } from "effect"
import { type Browser, chromium, type Page } from "playwright-core"

/** A browser that the machine has, or nothing. */
export const executablePath = [process.env.CHROMIUM, "/usr/bin/chromium", "/usr/bin/chromium-browser"].find(
  (path) => path !== undefined && NodeFs.existsSync(path)
)

/** Asks nobody but the page: the rest is what a desktop's browser does by itself. */
const quiet = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync"
]

export const browser = Effect.acquireRelease(
  Effect.promise(() => chromium.launch({ executablePath: executablePath ?? "", args: quiet })),
  (browser) => Effect.promise(() => browser.close())
)

export interface Opened {
  readonly page: Page
  /** What the page complained about: errors, and what its policy has refused. */
  readonly complaints: ReadonlyArray<string>
  /** Where it sent requests. */
  readonly requests: ReadonlyArray<string>
}

export const open = (
  browser: Browser,
  url: string,
  options: { readonly dark?: boolean; readonly width?: number } = {}
) =>
  Effect.map(
    Effect.acquireRelease(
      Effect.promise(() =>
        browser.newContext({
          colorScheme: options.dark === true ? "dark" : "light",
          viewport: { width: options.width ?? 1280, height: 900 }
        })
      ),
      (context) => Effect.promise(() => context.close())
    ),
    (context) =>
      Effect.promise(async (): Promise<Opened> => {
        const page = await context.newPage()
        const complaints: Array<string> = []
        const requests: Array<string> = []
        page.on("console", (message) => message.type() === "error" && complaints.push(message.text()))
        page.on("pageerror", (error) => complaints.push(error.message))
        page.on("request", (request) => requests.push(request.url()))
        await page.goto(url)
        return { page, complaints, requests }
      })
  ).pipe(Effect.flatten)

/** What a page has against the accessibility guidelines (WCAG 2.2 AA), contrast of texts among it, as it is drawn now. */
export const audit = (page: Page) =>
  Effect.promise(async () => {
    // By the debugger, which the page's policy does not bind.
    await page.evaluate(`${axe.source}; 0`)
    const found = await page.evaluate<ReadonlyArray<readonly [rule: string, where: string]>>(
      `axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa"] }).then(({ violations }) =>
        violations.flatMap(({ id, nodes }) => nodes.map(({ target, any }) => [id, target.join(" ") + " " + (any[0]?.message ?? "")])))`
    )
    return found.map((each) => each.join(": "))
  })

/**
 * The most of what was there that has moved at once by itself since the page was opened. A word in the head that gives way to
 * a longer one is 0.005, a section that makes room for another is 0.05.
 */
export const shift = (page: Page) =>
  Effect.promise(() =>
    page.evaluate<number>(
      `new Promise((resolve) => new PerformanceObserver((list) =>
        resolve(Math.max(...list.getEntries().map(({ hadRecentInput, value }) => (hadRecentInput ? 0 : value))))
      ).observe({ type: "layout-shift", buffered: true }) ?? setTimeout(resolve, 500, 0))`
    )
  )
