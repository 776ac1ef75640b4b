/**
 * What writes, through the lanes: one statement for all that many callers ask for at about the same time.
 *
 * In a caller's transaction it goes straight to that transaction's connection.
 *
 * @internal
 */
import type { SqlError } from "@effect/sql/SqlError"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as MetricLabel from "effect/MetricLabel"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Tracer from "effect/Tracer"
import {
  CheckpointerError,
  CheckpointerOverloaded,
  type LeaseLost,
  type StaleHead,
  ThreadDeleted,
  type ThreadExists
} from "../CheckpointError.ts"
import * as CheckpointMetrics from "../CheckpointMetrics.ts"
import * as Gauges from "./gauges.ts"
import { inTransaction } from "./inTransaction.ts"
import * as Batch from "./lanes/batch.ts"
import * as Lanes from "./lanes/lanes.ts"
import type { Kind } from "./lanes/state.ts"
import * as Ticket from "./lanes/ticket.ts"
import * as Trouble from "./lanes/trouble.ts"
import * as Late from "./late.ts"
import type { Statements } from "./statements.ts"
import type { WriteError } from "./store.ts"

/** @internal */
export interface Options
  extends Pick<
    Lanes.Options<unknown, unknown>,
    "maxInFlight" | "maxBatch" | "maxBatchBytes" | "maxQueued" | "maxQueuedBytes" | "timeout" | "grace"
  > {}

/** Why something was not done although the database would have done it. @internal */
export type Objection = ThreadExists | StaleHead | LeaseLost

/**
 * Runs an effect alone for a thread: after all that came before it in the lanes, before all that comes after.
 *
 * @internal
 */
export type Exclusively = <A, E extends SqlError | Objection>(
  task: Task,
  effect: Effect.Effect<A, E>
) => Effect.Effect<A, WriteError | Exclude<E, SqlError>>

/** @internal */
export interface Task {
  readonly name: CheckpointerOverloaded["operation"]
  readonly threadId: string
  /** May be done again when it is unknown whether it was done. */
  readonly repeatable: boolean
}

/** @internal */
export interface Writer {
  readonly write: (item: Batch.Item) => Effect.Effect<void, WriteError>
  readonly exclusively: Exclusively
}

/** Each operation in a statement of its own. @internal */
export const direct = (statements: Statements): Writer => toWriter((operation) => straight(statements, operation))

/** @internal */
export const make = (statements: Statements, options: Options): Effect.Effect<Writer, never, Scope.Scope> =>
  Lanes.make<Item, SqlError | Objection>({
    ...options,
    maxConflicts: 5,
    retryBase: 25,
    retryCap: 1000,
    kindOf: Trouble.kindOf,
    onRetry: (kind, operations) => CheckpointMetrics.retries.unsafeUpdate(operations, retryLabels[kind]),
    flush: (items) => {
      CheckpointMetrics.batchSize.unsafeUpdate(items.length, [])
      return traced(items, send(statements, items))
    }
  }).pipe(
    Effect.tap((lanes) => Gauges.register(() => ({ ...lanes.stats(), oldest: lanes.oldest() }))),
    Effect.map((lanes) =>
      toWriter((operation) =>
        inTransactionOr(
          Effect.suspend(() => straight(statements, operation)),
          (span, tracer) => submit(lanes, new Item(operation, span, tracer))
        )
      )
    )
  )

type Operation =
  | Batch.Item
  | ({ readonly _tag: "Exclusive"; readonly effect: Effect.Effect<void, SqlError | Objection> } & Task)

const toWriter = (run: (operation: Operation) => Effect.Effect<void, WriteError | Objection>): Writer => ({
  // What makes no objections meets none.
  write: run as (item: Batch.Item) => Effect.Effect<void, WriteError>,
  exclusively: <A, E extends SqlError | Objection>(task: Task, effect: Effect.Effect<A, E>) =>
    Effect.suspend(() => {
      // The lanes tell that it is done, and not what came of it.
      let result: A
      const done = Effect.map(effect, (a) => {
        result = a
      })
      return Effect.map(run({ _tag: "Exclusive", ...task, effect: done }), () => result)
    }) as Effect.Effect<A, WriteError | Exclude<E, SqlError>>
})

/** An operation, and whose trace tells of it. A class, since it waits (see `Operation` in `lanes/ticket.ts`). */
class Item {
  readonly operation: Operation
  readonly span: Tracer.AnySpan | undefined
  readonly tracer: Tracer.Tracer | undefined

  constructor(operation: Operation, span: Tracer.AnySpan | undefined, tracer: Tracer.Tracer | undefined) {
    this.operation = operation
    this.span = span
    this.tracer = tracer
  }
}

const send = (statements: Statements, items: ReadonlyArray<Item>): Effect.Effect<void, SqlError | Objection> =>
  items.length === 1
    ? sendAlone(statements, items[0]!.operation)
    : statements.batch(Batch.merge(items.flatMap(({ operation }) => (isBarrier(operation) ? [] : [operation]))))

const isBarrier = (operation: Operation): operation is Exclude<Operation, Batch.Item> => operation._tag === "Exclusive"

const sendAlone = (statements: Statements, operation: Operation): Effect.Effect<void, SqlError | Objection> => {
  switch (operation._tag) {
    case "Put":
      return statements.put(operation.rows)
    case "Writes":
      return statements.putWrites(operation.rows)
    case "Commit":
      return statements.batch(Batch.merge([operation]))
    case "Exclusive":
      return operation.effect
  }
}

const straight = (statements: Statements, operation: Operation): Effect.Effect<void, WriteError | Objection> =>
  Effect.mapBoth(sendAlone(statements, operation), {
    onFailure: (error) => refusal(operation, error),
    onSuccess: () => undefined
  })

const refusal = (operation: Operation, error: SqlError | Objection): WriteError | Objection => {
  if (error._tag !== "SqlError") return error
  const name = nameOf(operation)
  return (name === "put" || name === "putWrites" || name === "commit") && Late.isLate(error)
    ? new ThreadDeleted({ operation: name, threadId: threadOf(operation) })
    : new CheckpointerError({ operation: name, cause: error })
}

const nameOf = (operation: Operation): CheckpointerOverloaded["operation"] =>
  operation._tag === "Exclusive" ? operation.name : Batch.nameOf(operation)

const threadOf = (operation: Operation): string =>
  operation._tag === "Exclusive" ? operation.threadId : Batch.threadOf(operation)

/**
 * A lone operation's statement belongs to its caller's trace; a batch has a span that is linked with all of its callers.
 * The tracer is a caller's, too: lanes may have been made before there was one.
 */
const traced = <A, E>(items: ReadonlyArray<Item>, effect: Effect.Effect<A, E>): Effect.Effect<A, E> => {
  const first = items.find(isTraced)
  if (first === undefined) return effect
  const within =
    items.length === 1
      ? Effect.withParentSpan(effect, first.span)
      : Effect.withSpan(effect, "Checkpointer.flush", {
          parent: first.span,
          links: items
            .filter(isTraced)
            .filter((item) => item !== first)
            .map(({ span }) => ({ _tag: "SpanLink", span, attributes: {} })),
          attributes: { "checkpoint.batch": items.length },
          captureStackTrace: false
        })
  return first.tracer === undefined ? within : Effect.withTracer(within, first.tracer)
}

const isTraced = (item: Item): item is Item & { readonly span: Tracer.AnySpan } => item.span !== undefined

const inTransactionOr = <A, E>(
  within: Effect.Effect<A, E>,
  without: (span: Tracer.AnySpan | undefined, tracer: Tracer.Tracer | undefined) => Effect.Effect<A, E>
): Effect.Effect<A, E> =>
  Effect.withFiberRuntime((fiber) => {
    if (inTransaction(fiber)) return within
    const context = fiber.currentContext as Context.Context<Tracer.ParentSpan>
    return without(Option.getOrUndefined(Context.getOption(context, Tracer.ParentSpan)), fiber.currentTracer)
  })

const submit = (
  lanes: Lanes.Lanes<Item, SqlError | Objection>,
  item: Item
): Effect.Effect<void, WriteError | Objection> => {
  const { operation, span } = item
  const barrier = isBarrier(operation)
  const bytes = barrier ? 0 : Batch.bytesOf(operation)
  // The same content over itself changes nothing, and what is newer in the thread has yet to come.
  const repeatable = operation._tag !== "Exclusive" || operation.repeatable
  const submitted = lanes.submit(new Ticket.Operation(item, threadOf(operation), bytes, repeatable, barrier))
  return Effect.matchCauseEffect(submitted, {
    onFailure: (cause) => Effect.failCause(Cause.map(cause, (error) => failure(operation, lanes, error))),
    onSuccess: (batch) => {
      if (span !== undefined && span._tag === "Span") span.attribute("checkpoint.batch", batch)
      return Effect.void
    }
  })
}

const failure = (
  asked: Operation,
  lanes: Lanes.Lanes<Item, SqlError | Objection>,
  error: SqlError | Objection | Lanes.NotServed
): WriteError | Objection => {
  if (error._tag !== "NotServed") return refusal(asked, error)
  const operation = nameOf(asked)
  const { why } = error
  if (why._tag === "Closed") return new CheckpointerError({ operation, cause: new Error(closed) })
  if (why._tag === "Expired" && why.cause !== undefined) {
    return new CheckpointerError({ operation, cause: Cause.squash(why.cause) })
  }
  const { inFlight, queued, queuedBytes } = lanes.stats()
  return new CheckpointerOverloaded({
    operation,
    reason: why._tag === "Full" ? "QueueFull" : "TimedOut",
    waited: why._tag === "Full" ? 0 : why.waited,
    queued,
    queuedBytes,
    inFlight
  })
}

const because = (kind: Kind) => [MetricLabel.make(CheckpointMetrics.kindLabel, kind)]

// Made once: by the array itself a metric knows its series, and need not look for it.
const retryLabels: Readonly<Record<Kind, ReadonlyArray<MetricLabel.MetricLabel>>> = {
  refused: because("refused"),
  conflict: because("conflict"),
  saturated: because("saturated"),
  lost: because("lost"),
  fatal: because("fatal")
}

const closed = "The checkpointer is closed. Use it inside the scope (or Layer) that provides it"

/** @internal */
export const failingAs = <A>(
  operation: CheckpointerError["operation"],
  effect: Effect.Effect<A, SqlError>
): Effect.Effect<A, CheckpointerError> =>
  Effect.mapError(effect, (cause) => new CheckpointerError({ operation, cause }))
