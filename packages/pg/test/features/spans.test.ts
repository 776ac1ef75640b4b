import { SqlClient } from "@effect/sql"
import { expect, layer } from "@effect/vitest"
import { Effect, Exit, Option, Stream, Tracer } from "effect"
import { ServerLive } from "../server.ts"
import { sameOnBoth } from "./stock.ts"

interface Recorded {
  readonly name: string
  readonly kind: Tracer.SpanKind
  readonly parent: string | undefined
  readonly attributes: Map<string, unknown>
  readonly events: Array<string>
  outcome: string
}

/** Keeps what a program's spans say, but for their times. */
const recording = <A, E, R>(program: Effect.Effect<A, E, R>) =>
  Effect.gen(function* () {
    const spans: Array<Recorded> = []
    const tracer = Tracer.make({
      context: (f) => f(),
      span(name, parent, context, links, _startTime, kind) {
        const attributes = new Map<string, unknown>()
        const events: Array<string> = []
        const recorded: Recorded = {
          name,
          kind,
          parent: Option.getOrUndefined(Option.map(parent, (span) => (span._tag === "Span" ? span.name : "external"))),
          attributes,
          events,
          outcome: "open"
        }
        if (name.startsWith("sql.")) spans.push(recorded)
        return {
          _tag: "Span",
          spanId: `${spans.length}`,
          traceId: "trace",
          sampled: true,
          name,
          kind,
          parent,
          context,
          links: [...links],
          attributes,
          status: { _tag: "Started", startTime: 0n },
          attribute: (key, value) => void attributes.set(key, value),
          // Ours beside theirs, when it has to wait for a connection.
          event: (name) => void (name === "connection.acquired" || events.push(name)),
          addLinks: () => {},
          end: (_endTime, exit) => {
            recorded.outcome = Exit.isSuccess(exit) ? "success" : "failure"
          }
        }
      }
    })
    yield* Effect.withTracer(program, tracer)
    return spans
  })

const program = Effect.gen(function* () {
  const sql = yield* SqlClient.SqlClient
  yield* sql`SELECT ${1} AS one`
  yield* sql`SELECT 2`.values
  yield* Effect.ignore(sql`SELECT 1 / 0`)
  yield* Stream.runDrain(sql`SELECT 3`.stream)
  yield* sql.withTransaction(Effect.zipRight(sql`SELECT 4`, sql.withTransaction(sql`SELECT 5`)))
  yield* Effect.ignore(sql.withTransaction(Effect.ignore(sql.withTransaction(sql`SELECT 1 / 0`))))
  yield* Effect.ignore(sql.withTransaction(Effect.fail("undone")))
})

layer(ServerLive, { excludeTestServices: true, timeout: "60 seconds" })("spans", (it) => {
  for (const place of ["within a span", "at the root of a trace"]) {
    it.effect(`have sql-pg's names, kinds, parents, attributes and events, ${place}`, () =>
      Effect.gen(function* () {
        const spans = yield* sameOnBoth(
          recording(place === "within a span" ? Effect.withSpan(program, "outer") : program),
          { spanAttributes: { "service.name": "shop" } }
        )
        expect(spans.length).toBe(12)
        expect(Object.fromEntries(spans[0]!.attributes)).toMatchObject({
          "service.name": "shop",
          "db.system.name": "postgresql",
          "db.query.text": "SELECT $1 AS one"
        })
      })
    )
  }
})
