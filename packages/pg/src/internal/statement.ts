/**
 * sql's statements, without a span where nobody would see it.
 *
 * Each statement of `@effect/sql` has a span of its own, listeners or not, which allocates more than the pool and the
 * driver together. With a span around it, or a tracer that isn't Effect's own (that keeps spans for nobody), it is sql's
 * own way.
 *
 * The one place that reaches into sql's statement: how it is made, and that all of its ways to run go through
 * `withConnection`.
 */
import { TransactionConnection } from "@effect/sql/SqlClient"
import type { Connection } from "@effect/sql/SqlConnection"
import type { SqlError } from "@effect/sql/SqlError"
import * as Statement from "@effect/sql/Statement"
import * as Context from "effect/Context"
import * as DefaultServices from "effect/DefaultServices"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as Tracer from "effect/Tracer"

type Compiled = readonly [text: string, values: ReadonlyArray<unknown>]

/** A statement, as far as it is used here. */
interface Runnable {
  readonly segments: ReadonlyArray<unknown>
  withConnection<A, E>(operation: string, run: Run<A, E>, withoutTransform?: boolean): Effect.Effect<A, E | SqlError>
  compile(withoutTransform?: boolean): Compiled
}

type Run<A, E> = (connection: Connection, text: string, values: ReadonlyArray<unknown>) => Effect.Effect<A, E>

/** As `Statement.make`, over a connection that needs no scope. @internal */
export const make = (
  connection: Connection,
  compiler: Statement.Compiler,
  spanAttributes: ReadonlyArray<readonly [string, unknown]>,
  transformRows: Parameters<typeof Statement.make>[3]
): Statement.Constructor => {
  const acquirer = Effect.withFiberRuntime<Connection>((fiber) => Effect.succeed(currentOr(fiber, connection)))
  const stock = Statement.make(acquirer, compiler, spanAttributes, transformRows)
  const Stock = stock.unsafe("").constructor as new (segments: ReadonlyArray<unknown>, ...others: unknown[]) => Runnable

  class Unseen extends Stock {
    constructor(segments: ReadonlyArray<unknown>) {
      super(segments, acquirer, compiler, spanAttributes, transformRows)
    }

    override withConnection<A, E>(operation: string, run: Run<A, E>, withoutTransform = false) {
      return Effect.withFiberRuntime<A, E | SqlError>((fiber) => {
        if (!isUnseen(fiber)) return super.withConnection(operation, run, withoutTransform)
        const [text, values] = this.compile(withoutTransform)
        return run(currentOr(fiber, connection), text, values)
      })
    }
  }

  /** A text that is a statement as it is. */
  class Literal extends Unseen {
    private readonly compiled: Compiled

    constructor(text: string, values: ReadonlyArray<unknown> = []) {
      super([{ _tag: "Literal", value: text, params: values }])
      this.compiled = [text.trim(), values]
    }

    override compile(): Compiled {
      return this.compiled
    }
  }

  const sql = (strings: unknown, ...args: ReadonlyArray<unknown>) => {
    const made = (stock as unknown as (...args: ReadonlyArray<unknown>) => Runnable)(strings, ...args)
    return typeof strings === "string" ? made : new Unseen(made.segments)
  }
  return Object.assign(sql, stock, {
    unsafe: (text: string, values?: ReadonlyArray<unknown>) => new Literal(text, values)
  }) as unknown as Statement.Constructor
}

/** Nobody would see its span, and nobody wants to change its text. */
const isUnseen = (fiber: Fiber.RuntimeFiber<unknown, unknown>): boolean =>
  fiber.currentTracer === ownTracer &&
  !fiber.currentContext.unsafeMap.has(Tracer.ParentSpan.key) &&
  fiber.getFiberRef(Statement.currentTransformer)._tag === "None"

const ownTracer = Context.get(DefaultServices.liveServices, Tracer.Tracer)

/** The connection of the transaction that the fiber is in, or else the given one. */
const currentOr = (fiber: Fiber.RuntimeFiber<unknown, unknown>, connection: Connection): Connection => {
  const context = fiber.currentContext as Context.Context<TransactionConnection>
  const transaction = Context.getOption(context, TransactionConnection)
  return transaction._tag === "Some" ? transaction.value[0] : connection
}
