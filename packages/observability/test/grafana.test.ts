import * as NodeFs from "node:fs"
import { Checkpoint, Checkpointer, SqlCheckpointer } from "@checkpool/checkpoint"
import { PrometheusMetrics } from "@checkpool/observability"
import { PgPool } from "@checkpool/pg"
import { SqlClient } from "@effect/sql"
import { expect, layer } from "@effect/vitest"
import { parser } from "@prometheus-io/lezer-promql"
import { Deferred, Effect, Fiber, Layer } from "effect"
import { parse } from "yaml"
import { eventually } from "./eventually.ts"
import { observedLayer, ServerLive } from "./world.ts"

const read = (file: string) => NodeFs.readFileSync(new URL(`../grafana/${file}`, import.meta.url), "utf8")

interface Rule {
  readonly alert: string
  readonly expr: string
}

const dashboard: { readonly panels: ReadonlyArray<{ readonly targets: ReadonlyArray<{ readonly expr: string }> }> } =
  JSON.parse(read("dashboard.json"))
const alerts: { readonly groups: ReadonlyArray<{ readonly rules: ReadonlyArray<Rule> }> } = parse(read("alerts.yaml"))
const rules = alerts.groups.flatMap(({ rules }) => rules)
const expressions = [
  ...dashboard.panels.flatMap(({ targets }) => targets.map(({ expr }) => expr)),
  ...rules.map(({ expr }) => expr)
]

/** What stands at the nodes of these kinds in an expression of PromQL; dies if it is none. */
const namesIn = (expression: string, kinds: ReadonlyArray<string>) => {
  // Grafana fills these in.
  const promql = expression.replaceAll("$__rate_interval", "5m").replaceAll("$pool", ".*")
  const found = new Set<string>()
  parser.parse(promql).iterate({
    enter: ({ from, name, to, type }) => {
      if (type.isError) throw new Error(`no PromQL: ${promql}`)
      if (kinds.includes(name)) found.add(promql.slice(from, to))
    }
  })
  return found
}

/** A pool and a checkpointer that have met all that is counted, and what a scrape shows of them. */
const scraped = Effect.gen(function* () {
  const sql = yield* SqlClient.SqlClient
  const pool = yield* PgPool.PgPool
  yield* Effect.ignore(sql`SELECT 1 / 0`)
  yield* Effect.ignore(sql`SELECT pg_terminate_backend(pg_backend_pid())`)
  const free = yield* Deferred.make<void>()
  const callers = yield* Effect.forkAll(Array.from({ length: 5 }, () => pool.use(() => Deferred.await(free))))
  yield* eventually(pool.stats, ({ leased, waiting }) => leased === 4 && waiting === 1)
  yield* Effect.ignore(pool.use(() => Effect.void))
  yield* Deferred.succeed(free, undefined)
  yield* Fiber.join(callers)
  const checkpointer = yield* Checkpointer.Checkpointer
  const checkpoint = yield* Checkpoint.make({ channel_values: { a: "b" }, channel_versions: { a: 1 } })
  const put = checkpointer.put({ threadId: "t", checkpoint, metadata: {}, newVersions: { a: 1 } })
  yield* put
  yield* sql`ALTER TABLE checkpoints RENAME TO gone`
  yield* Effect.flip(put)
  return yield* PrometheusMetrics.text
})

layer(ServerLive, { excludeTestServices: true, timeout: "60 seconds" })("the dashboard and the alert rules", (it) => {
  it.effect("ask for metrics and labels that a pool and a checkpointer really have", () =>
    Effect.gen(function* () {
      const text = yield* scraped
      const names = new Set(text.match(/^[a-z]\w*(?=[{ ])/gm))
      const labels = new Set(Array.from(text.matchAll(/[{,](\w+)="/g), ([, label]) => label!))
      // Which Prometheus adds.
      for (const label of ["job", "instance"]) labels.add(label)
      expect(rules.length).toBe(6)
      expect(expressions.length).toBeGreaterThan(40)
      for (const expression of expressions) {
        const asked = namesIn(expression, ["Identifier"])
        expect(asked.size, expression).toBeGreaterThan(0)
        for (const name of asked) expect(names, `${name} in ${expression}`).toContain(name)
        for (const label of namesIn(expression, ["LabelName"])) {
          expect(labels, `${label} in ${expression}`).toContain(label)
        }
      }
    }).pipe(
      Effect.provide(
        SqlCheckpointer.layer().pipe(Layer.provideMerge(observedLayer({ name: "graphed", maxWaiting: 1 })))
      )
    )
  )
})
