import { request } from "node:http"
import { connect } from "node:net"
import { ObservabilityServer } from "@checkpool/observability"
import { PgPool } from "@checkpool/pg"
import { SqlClient } from "@effect/sql"
import { describe, expect, it, layer } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Layer, Scope } from "effect"
import parse from "parse-prometheus-text-format"
import * as Hosts from "../src/internal/hosts.ts"
import { eventually } from "./eventually.ts"
import { observedLayer, ServerLive } from "./world.ts"

interface Answer {
  readonly status: number | undefined
  readonly headers: NodeJS.Dict<string | ReadonlyArray<string>>
  readonly text: string
}

/** By hand: `fetch` does not let the Host header be forged. Ends the request once `enough` says so. */
const ask = (url: string, headers: Record<string, string> = {}, enough: (text: string) => boolean = () => false) =>
  Effect.async<Answer, Error>((resume) => {
    const asking = request(url, { agent: false, headers }, (response) => {
      let text = ""
      const done = () =>
        resume(Effect.succeed({ status: response.statusCode, headers: response.headers as Answer["headers"], text }))
      response.setEncoding("utf8")
      response.on("data", (chunk: string) => {
        text += chunk
        if (enough(text)) {
          done()
          asking.destroy()
        }
      })
      response.on("end", done)
    })
    asking.on("error", (error) => resume(Effect.fail(error)))
    asking.end()
    return Effect.sync(() => asking.destroy())
  })

const name = 'a "name"\\'

const url = Effect.map(ObservabilityServer.ObservabilityServer, ({ url }) => url)

const messages = (text: string) =>
  text
    .split("\n\n")
    .filter((block) => block.startsWith("data: "))
    .map((block) => JSON.parse(block.slice("data: ".length)))

layer(ServerLive, { excludeTestServices: true, timeout: "60 seconds" })("the server", (it) => {
  it.effect("serves what a scrape needs, and a parser of Prometheus's reads it", () =>
    Effect.gen(function* () {
      yield* Effect.flatMap(SqlClient.SqlClient, (sql) => sql`SELECT 1`)
      const { headers, text } = yield* ask(`${yield* url}/metrics`)
      expect(headers["content-type"]).toBe("text/plain; version=0.0.4; charset=utf-8")
      const families = new Map(parse(text).map((family) => [family.name, family]))
      expect(families.get("db_client_connection_wait_time_seconds")).toMatchObject({ type: "HISTOGRAM" })
      expect(families.get("db_client_connection_count")).toMatchObject({ type: "GAUGE" })
      const acquired = families.get("checkpool_pool_acquired_total")!
      expect(acquired.type).toBe("COUNTER")
      const named = { db_client_connection_pool_name: name }
      expect(acquired.metrics).toContainEqual({ value: "1", labels: named })
      // The parser keeps no labels of histograms.
      expect(text.split("\n")).toContain(
        `db_client_connection_wait_time_seconds_count{db_client_connection_pool_name="a \\"name\\"\\\\"} 1`
      )
    }).pipe(Effect.provide(observedLayer({ name })))
  )

  it.effect("listens on the loopback address, and answers to addresses and local names alone", () =>
    Effect.gen(function* () {
      const at = yield* url
      expect(at).toMatch(/^http:\/\/127\.0\.0\.1:\d+$/)
      for (const path of ["/", "/events", "/metrics", "/health/live", "/health/ready"]) {
        expect((yield* ask(at + path, { host: "attacker.example" })).status, path).toBe(421)
      }
      expect((yield* ask(`${at}/metrics`, { host: "localhost:1" })).status).toBe(200)
      expect((yield* ask(`${at}/metrics`, { host: "pool.internal" })).status).toBe(200)
      expect((yield* ask(`${at}/elsewhere`)).status).toBe(404)
    }).pipe(Effect.provide(observedLayer({}, { allowedHosts: ["Pool.internal"] })))
  )

  it.effect("sends the page with a policy that lets it load nothing from anywhere", () =>
    Effect.gen(function* () {
      const { headers, text } = yield* ask(yield* url)
      expect(headers["content-security-policy"]).toMatch(
        /^default-src 'none'; script-src 'sha256-[^']+'; style-src 'sha256-[^']+'; connect-src 'self'; img-src data:;/
      )
      expect(headers["content-security-policy"]).toMatch(
        /; base-uri 'none'; form-action 'none'; frame-ancestors 'none'$/
      )
      expect(headers).toMatchObject({ "cache-control": "no-store", "x-content-type-options": "nosniff" })
      expect(text).not.toMatch(/(?:src|href)="(?:https?:)?\/\//)
    }).pipe(Effect.provide(observedLayer()))
  )

  it.effect("tells numbers, and events with their reasons but without what errors say", () =>
    Effect.gen(function* () {
      const pool = yield* PgPool.PgPool
      yield* pool.use(() => Effect.void)
      yield* pool.expire
      yield* pool.use(() => Effect.void)
      const { headers, text } = yield* ask(`${yield* url}/events`, {}, (text) => messages(text).length > 2)
      expect(headers).toMatchObject({ "content-type": "text/event-stream", "cache-control": "no-store" })
      const told = messages(text)
      expect(told[0].pools).toMatchObject([{ name: "told", max: 4, acquired: 2, waits: { count: 2 } }])
      const happenings = told.flatMap(({ happenings }) => happenings)
      expect(happenings.find(({ what }) => what === "Connection closed")).toMatchObject({
        pool: "told",
        why: expect.stringMatching(/^its generation was ended; lived /),
        level: "info"
      })
      // Each once, however many messages there are.
      expect(happenings.length).toBe(new Set(happenings.map(({ id }) => id)).size)
      yield* Effect.ignore(
        pool.use((connection) => connection.executeCommand("SELECT pg_terminate_backend(pg_backend_pid())"))
      )
      yield* ask(`${yield* url}/events`, {}, (text) => /"broke, or was given up \(57P01\); lived /.test(text))
    }).pipe(Effect.provide(observedLayer({ name: "told" }, { interval: "5 millis" })))
  )

  it.effect("tells who comes what there is at once, and not after the interval", () =>
    Effect.gen(function* () {
      const { text } = yield* ask(`${yield* url}/events`, {}, (text) => text.endsWith("\n\n"))
      expect(messages(text)).toMatchObject([{ pools: [{ name: "at once" }] }])
    }).pipe(Effect.provide(observedLayer({ name: "at once" }, { interval: "1 hour" })))
  )

  it.effect("ends with its scope although a page is open and a request is half sent, is not ready first", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const context = yield* Layer.buildWithScope(observedLayer({}, { shutdownDelay: "1 second" }), scope)
      const at = yield* Effect.provide(url, context)
      const heard = yield* Deferred.make<void>()
      const page = yield* Effect.fork(
        Effect.exit(
          ask(`${at}/events`, {}, () => {
            Deferred.unsafeDone(heard, Effect.void)
            return false
          })
        )
      )
      yield* Deferred.await(heard)
      const half = connect(Number(new URL(at).port), "127.0.0.1")
      const cut = new Promise((resolve) => half.on("error", resolve).on("close", resolve))
      half.write("GET / HTTP/1.1\r\n")
      const closing = yield* Effect.fork(Scope.close(scope, Exit.void))
      const { text } = yield* eventually(ask(`${at}/health/ready`), ({ status }) => status === 503)
      expect(JSON.parse(text)).toMatchObject({ status: "fail", problems: [{ problem: "stopping" }] })
      yield* Fiber.join(closing)
      yield* Fiber.join(page)
      yield* Effect.promise(() => cut)
      expect(yield* Effect.flip(ask(at))).toMatchObject({ code: "ECONNREFUSED" })
    })
  )
})

describe("the names that a request may ask by", () => {
  it.each([
    "127.0.0.1:9464",
    "10.0.0.7",
    "[::1]:80",
    "localhost",
    "LocalHost:1",
    "app.localhost:3",
    "known:9464",
    "known."
  ])("%s is one", (host) => expect(Hosts.isAllowed(host, ["known"])).toBe(true))
  it.each([
    undefined,
    "",
    "attacker.example",
    "127.0.0.1.attacker.example",
    "localhost.attacker.example:80",
    "unknown",
    "a@127.0.0.1",
    "[::1].x"
  ])("%s is none", (host) => expect(Hosts.isAllowed(host, ["known"])).toBe(false))
})
