/**
 * What is told about each operation: a span, where somebody listens, and metrics.
 *
 * @internal
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as FiberRef from "effect/FiberRef"
import * as MetricLabel from "effect/MetricLabel"
import * as Option from "effect/Option"
import * as Tracer from "effect/Tracer"
import type { CheckpointerError } from "../CheckpointError.ts"
import type { GetOptions, ListOptions } from "../Checkpointer.ts"
import * as CheckpointMetrics from "../CheckpointMetrics.ts"
import * as Trouble from "./lanes/trouble.ts"
import type { FoundBlob } from "./rows.ts"

/** @internal */
export type Name = Exclude<CheckpointerError["operation"], "setup">

/** What an operation tells about itself on the way. @internal */
export interface Tell {
  /** Values that were moved. */
  readonly values: (values: Iterable<Pick<FoundBlob, "blob">>) => void
  /** Checkpoints that were read. */
  readonly count: (checkpoints: number) => void
}

/**
 * Runs `use` as the operation of that name. It has a span if there is a span to be the parent: without one nobody is
 * listening, and a span costs as much as the work around it.
 *
 * @internal
 */
export const run = <A, E, R>(
  name: Name,
  attributes: () => Record<string, unknown>,
  use: (tell: Tell) => Effect.Effect<A, E, R>
): Effect.Effect<A, E, R> =>
  Effect.withFiberRuntime((fiber) => {
    const labels = labelsOf(fiber, name)
    const clock = Context.get(fiber.currentDefaultServices, Clock.Clock)
    const start = clock.unsafeCurrentTimeNanos()
    const observed = (span: Tracer.Span | undefined) =>
      Effect.matchCauseEffect(use(tell(labels, span)), {
        onFailure: (cause) => {
          failed(labels, cause)
          return Effect.failCause(cause)
        },
        onSuccess: (value) => {
          const seconds = Number(clock.unsafeCurrentTimeNanos() - start) / 1e9
          CheckpointMetrics.operationSeconds.unsafeUpdate(seconds, labels)
          return Effect.succeed(value)
        }
      })
    if (Option.isNone(Context.getOption(fiber.currentContext, Tracer.ParentSpan))) return observed(undefined)
    return Effect.useSpan(`Checkpointer.${name}`, { attributes: attributes(), captureStackTrace: false }, (span) =>
      Effect.withParentSpan(observed(span), span)
    )
  })

/** What a span tells about the checkpoint that it is about. @internal */
export const attributes = ({ checkpointId, namespace = "", threadId }: GetOptions): Record<string, unknown> =>
  listAttributes({ checkpointId, namespace, threadId })

/** What a span tells about the checkpoints that were asked for. @internal */
export const listAttributes = ({ checkpointId, namespace, threadId }: ListOptions): Record<string, unknown> => ({
  ...(threadId === undefined ? {} : { "checkpoint.thread_id": threadId }),
  ...(namespace === undefined ? {} : { "checkpoint.namespace": namespace }),
  ...(checkpointId === undefined ? {} : { "checkpoint.id": checkpointId })
})

type Labels = ReadonlyArray<MetricLabel.MetricLabel>

const tell = (labels: Labels, span: Tracer.Span | undefined): Tell => ({
  values: (values) => {
    let count = 0
    let bytes = 0
    for (const { blob } of values) {
      count++
      bytes += blob === null ? 0 : typeof blob === "string" ? Buffer.byteLength(blob) : blob.byteLength
    }
    CheckpointMetrics.bytes.unsafeUpdate(bytes, labels)
    span?.attribute("checkpoint.values", count)
    span?.attribute("checkpoint.bytes", bytes)
  },
  count: (checkpoints) => span?.attribute("checkpoint.count", checkpoints)
})

const failed = (labels: Labels, cause: Cause.Cause<unknown>): void => {
  if (Cause.isInterruptedOnly(cause)) return
  const error = Option.getOrUndefined(Cause.failureOption(cause)) as { readonly _tag?: unknown } | undefined
  const type = error === undefined ? "defect" : String(error._tag)
  const more = [MetricLabel.make(CheckpointMetrics.errorLabel, type)]
  if (type === "CheckpointerError") {
    more.push(MetricLabel.make(CheckpointMetrics.kindLabel, Trouble.kindOf(error)))
  }
  CheckpointMetrics.errors.unsafeUpdate(1, [...labels, ...more])
}

/** The same array for the same labels: by the array itself a metric knows its series, and need not look for it. */
const labelsOf = (fiber: Fiber.RuntimeFiber<unknown, unknown>, name: Name): Labels => {
  const given = fiber.getFiberRef(FiberRef.currentMetricLabels)
  const known = remembered(labels, given, () => new Map<Name, Labels>())
  return remembered(known, name, () => [...given, MetricLabel.make(CheckpointMetrics.operationLabel, name)])
}

const labels = new WeakMap<Labels, Map<Name, Labels>>()

interface Memory<K, A> {
  readonly get: (key: K) => A | undefined
  readonly set: (key: K, value: A) => unknown
}

const remembered = <K, A>(memory: Memory<K, A>, key: K, make: () => A): A => {
  const known = memory.get(key)
  if (known !== undefined) return known
  const made = make()
  memory.set(key, made)
  return made
}
