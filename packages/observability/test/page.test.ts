import { Checkpoint, Checkpointer, SqlCheckpointer } from "@checkpool/checkpoint"
import { EmbeddedPostgres } from "@checkpool/embedded"
import { ObservabilityServer } from "@checkpool/observability"
import { PgPool } from "@checkpool/pg"
import { beforeEach, describe, expect, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, Layer } from "effect"
import type { Page } from "playwright-core"
import { audit, browser, executablePath, open, shift } from "./browser.ts"
import { eventually } from "./eventually.ts"
import { observedLayer, ServerLive } from "./world.ts"

const text = (page: Page, selector: string) =>
  Effect.promise(() => page.textContent(selector).then((text) => text ?? ""))

/** What a script of ours says in the page, between two of its messages. */
const run = (page: Page, script: string) => Effect.promise(() => page.evaluate<unknown>(script))

/** Waits until the page says so. */
const says = (page: Page, selector: string, expected: string | RegExp) =>
  eventually(text(page, selector), (text) => (typeof expected === "string" ? text === expected : expected.test(text)))

const url = Effect.map(ObservabilityServer.ObservabilityServer, ({ url }) => url)

const WorldLive = SqlCheckpointer.layer().pipe(
  Layer.provideMerge(
    observedLayer({ name: "shown", maxConnections: 2, maxWaiting: 3, minConnections: 2, start: "min" })
  ),
  Layer.provideMerge(ServerLive)
)

describe("the live page in a browser", () => {
  beforeEach((test) => {
    if (executablePath === undefined) test.skip("there is no Chromium on this machine")
  })

  it.scopedLive("follows the pool: load, a saturation with its events, checkpoints", () =>
    Effect.gen(function* () {
      const { complaints, page, requests } = yield* open(yield* browser, yield* url)
      const pool = yield* PgPool.PgPool
      yield* says(page, "#name", "shown")
      yield* says(page, "#status", "Fine")
      yield* says(page, "#idle", "2")

      const free = yield* Deferred.make<void>()
      const callers = yield* Effect.forkAll(Array.from({ length: 5 }, () => pool.use(() => Deferred.await(free))))
      yield* says(page, "#waiting", "3")
      yield* says(page, "#used", "2")
      yield* says(page, "#status", "Callers wait for seconds")
      expect(yield* Effect.flip(pool.use(() => Effect.void))).toMatchObject({ _tag: "PoolSaturated" })
      yield* says(page, "#status", "Saturated: callers are turned away")
      yield* says(page, "#events", /Saturated3 wait/)
      expect(yield* Effect.promise(() => page.getAttribute("#gauge", "aria-label"))).toBe(
        "2 in use, 0 idle, 0 connecting, 3 waiting; 2 at most"
      )
      expect(yield* run(page, `document.querySelector("#gauge .used").style.width`)).toBe("100%")
      yield* Deferred.succeed(free, undefined)
      yield* Fiber.join(callers)
      yield* says(page, "#status", "Fine")
      yield* says(page, "#events", /Relievedafter [\d.]+ m?s; 1 turned away/)
      yield* says(page, "#rate-top", /^at most [1-9]/)
      const longest = `Math.max(...Array.from(document.querySelectorAll("#waits i"), (i) => parseFloat(i.style.width)))`
      expect(yield* run(page, longest)).toBeGreaterThan(0)

      const checkpointer = yield* Checkpointer.Checkpointer
      const checkpoint = yield* Checkpoint.make({ channel_values: { a: "b" }, channel_versions: { a: 1 } })
      yield* checkpointer.put({ threadId: "t", checkpoint, metadata: {}, newVersions: { a: 1 } })
      yield* says(page, "#batch", "1.0")
      expect(yield* Effect.promise(() => page.isVisible("#lanes"))).toBe(true)
      yield* says(page, "#operation", /^\d+ (µs|ms)$/)
      yield* says(page, "#failed", "0")
      yield* pool.use((connection) => connection.executeCommand("ALTER TABLE checkpoints RENAME TO gone"))
      yield* Effect.flip(checkpointer.put({ threadId: "t", checkpoint, metadata: {}, newVersions: {} }))
      yield* says(page, "#failed", "1 refused")

      // Of a pool to which nothing has happened, not what has happened to the one before.
      expect(yield* run(page, `drawEvents("another"), byId("events").textContent`)).toBe("Nothing has happened yet.")
      expect(yield* shift(page)).toBeLessThan(0.01)
      expect(yield* audit(page)).toEqual([])
      expect(complaints).toEqual([])
      const origin = yield* url
      expect(requests.filter((request) => !request.startsWith(origin) && !request.startsWith("data:"))).toEqual([])
    }).pipe(Effect.provide(WorldLive))
  )

  it.scopedLive("shows a server that is down and comes back", () =>
    Effect.gen(function* () {
      const { page } = yield* open(yield* browser, yield* url)
      const server = yield* EmbeddedPostgres.EmbeddedPostgres
      const pool = yield* PgPool.PgPool
      yield* says(page, "#status", "Fine")
      yield* server.restart({ mode: "immediate" })
      yield* Effect.ignore(pool.use((connection) => connection.ping))
      yield* says(page, "#events", /Connection closed/)
      yield* eventually(pool.use((connection) => connection.ping).pipe(Effect.exit), (exit) => exit._tag === "Success")
      yield* says(page, "#status", "Fine")
      yield* says(page, "#idle", "2")
      const status = `byId("status").textContent`
      expect(yield* run(page, `drawStatus({ ...latest.pools[0], unavailable: true }), ${status}`)).toMatch(/^Down/)
      expect(yield* run(page, `source.dispatchEvent(new Event("error")), ${status}`)).toMatch(/^Connection .* lost/)
      yield* says(page, "#status", "Fine")
    }).pipe(Effect.provide(WorldLive))
  )

  it.scopedLive("can be used by keyboard, paused, read on a phone, in the dark", () =>
    Effect.gen(function* () {
      const chromium = yield* browser
      const { page } = yield* open(chromium, yield* url, { dark: true, width: 360 })
      yield* says(page, "#status", "Fine")
      const wider = yield* Effect.promise(() =>
        page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth")
      )
      expect(wider).toBe(false)
      expect(yield* Effect.promise(() => page.evaluate("getComputedStyle(document.body).backgroundColor"))).toBe(
        "rgb(15, 20, 27)"
      )
      expect(yield* audit(page)).toEqual([])
      const focused = Effect.promise(() =>
        page.evaluate("document.activeElement.className || document.activeElement.id")
      )
      yield* Effect.promise(() => page.keyboard.press("Tab"))
      expect(yield* focused).toBe("skip")
      yield* Effect.promise(() => page.keyboard.press("Tab"))
      expect(yield* focused).toBe("pause")
      yield* Effect.promise(() => page.keyboard.press("Enter"))
      expect(yield* text(page, "#pause")).toBe("Go on")
      const pool = yield* PgPool.PgPool
      const before = yield* text(page, "#acquired")
      yield* Effect.repeatN(
        pool.use(() => Effect.void),
        9
      )
      // The page goes on listening while it is paused.
      const last = "latest.pools[0].acquired"
      yield* eventually(
        Effect.promise(() => page.evaluate<number>(last)),
        (acquired) => acquired > Number(before)
      )
      expect(yield* text(page, "#acquired")).toBe(before)
      yield* Effect.promise(() => page.keyboard.press("Enter"))
      expect(yield* text(page, "#acquired")).not.toBe(before)
    }).pipe(Effect.provide(WorldLive))
  )
})
