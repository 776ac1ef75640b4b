import type { Connection } from "@effect/sql/SqlConnection"
import * as Statement from "@effect/sql/Statement"
import * as SqlPg from "@effect/sql-pg/PgClient"
import { describe, expect, it, vi } from "@effect/vitest"
import { Context, DefaultServices, Effect, Option, Tracer } from "effect"
import * as OwnStatement from "../src/internal/statement.ts"

const answer = (text: string) => Effect.succeed([[text]])
const connection = {
  execute: answer,
  executeRaw: answer,
  executeValues: answer,
  executeUnprepared: answer
} as unknown as Connection
const sql = OwnStatement.make(connection, SqlPg.makeCompiler(), [], undefined)

const ways = { "a template": () => sql`SELECT ${1}`, "a text": () => sql.unsafe("SELECT $1", [1]) }

const answers = (statement: Statement.Statement<unknown>) =>
  Effect.all([statement, statement.raw, statement.values, statement.unprepared, statement.withoutTransform])
/** A tracer, and the names of the spans that it was asked for. */
const recording = () => {
  const names: Array<string> = []
  const own = Context.get(DefaultServices.liveServices, Tracer.Tracer)
  const tracer = Tracer.make({
    span: (name, ...rest) => {
      names.push(name)
      return own.span(name, ...rest)
    },
    context: (run) => run()
  })
  return { names, tracer }
}

describe.each(Object.entries(ways))("a statement of %s", (_, statement) => {
  it.effect("runs in each of its ways, within a span and outside of any", () =>
    Effect.gen(function* () {
      const expected = Array.from({ length: 5 }, () => [["SELECT $1"]])
      expect(yield* answers(statement())).toEqual(expected)
      expect(yield* Effect.withSpan(answers(statement()), "outer")).toEqual(expected)
    })
  )

  it.effect("asks Effect's own tracer for no span, except within one", () =>
    Effect.gen(function* () {
      const own: { span: Tracer.Tracer["span"] } = Context.get(DefaultServices.liveServices, Tracer.Tracer)
      const span = vi.spyOn(own, "span")
      yield* Effect.addFinalizer(() => Effect.sync(() => span.mockRestore()))
      yield* answers(statement())
      expect(span).not.toHaveBeenCalled()
      yield* Effect.withSpan(statement(), "outer")
      expect(span.mock.calls.map(([name]) => name)).toEqual(["outer", "sql.execute"])
    }).pipe(Effect.scoped)
  )

  it.effect("has sql's span wherever there is a tracer that keeps it", () =>
    Effect.gen(function* () {
      const { names, tracer } = recording()
      yield* Effect.withTracer(answers(statement()), tracer)
      expect(names).toEqual(Array.from({ length: 5 }, () => "sql.execute"))
      yield* Effect.withTracer(Effect.withSpan(statement(), "outer"), tracer)
      expect(names.slice(5)).toEqual(["outer", "sql.execute"])
    })
  )

  it.effect("is transformed as the app asks for", () =>
    Effect.gen(function* () {
      const commented: Statement.Statement.Transformer = (it, sql) =>
        Effect.sync(() => sql`/* app */ ${it as Statement.Statement<object>}`)
      const [answer] = yield* Effect.locally(answers(statement()), Statement.currentTransformer, Option.some(commented))
      expect(answer).toEqual([["/* app */ SELECT $1"]])
    })
  )
})

describe("a statement's parts", () => {
  it("are sql's own", () => {
    expect(sql("name")).toEqual(Statement.make(Effect.succeed(connection), SqlPg.makeCompiler(), [], undefined)("name"))
    expect(sql`SELECT ${sql("a")} ${sql.unsafe("b", [2])} ${sql.in([3, 4])}`.compile()).toEqual([
      'SELECT "a" b ($1,$2)',
      [2, 3, 4]
    ])
  })
})
