/** @internal */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Tracer from "effect/Tracer"
import type { GetOptions, ListOptions } from "../Checkpointer.ts"

/**
 * Runs `use` in a span of that name if there is a span to be the parent. Without one nobody is listening, and a span
 * costs as much as the work around it.
 *
 * @internal
 */
export const withChildSpan = <A, E, R>(
  name: string,
  attributes: () => Record<string, unknown>,
  use: (annotate: (key: string, value: unknown) => void) => Effect.Effect<A, E, R>
): Effect.Effect<A, E, R> =>
  Effect.withFiberRuntime((fiber) => {
    if (Option.isNone(Context.getOption(fiber.currentContext, Tracer.ParentSpan))) return use(ignore)
    return Effect.useSpan(name, { attributes: attributes(), captureStackTrace: false }, (span) =>
      Effect.withParentSpan(
        use((key, value) => span.attribute(key, value)),
        span
      )
    )
  })

const ignore = () => {}

/** What a span tells about the checkpoint that it is about. @internal */
export const attributes = ({ checkpointId, namespace = "", threadId }: GetOptions): Record<string, unknown> =>
  listAttributes({ checkpointId, namespace, threadId })

/** What a span tells about the checkpoints that were asked for. @internal */
export const listAttributes = ({ checkpointId, namespace, threadId }: ListOptions): Record<string, unknown> => ({
  ...(threadId === undefined ? {} : { "checkpoint.thread_id": threadId }),
  ...(namespace === undefined ? {} : { "checkpoint.namespace": namespace }),
  ...(checkpointId === undefined ? {} : { "checkpoint.id": checkpointId })
})

/** Number and size of the values that were moved. @internal */
export const annotateSizes = (
  annotate: (key: string, value: unknown) => void,
  values: ReadonlyArray<{ readonly blob: Uint8Array | null }>
): void => {
  if (annotate === ignore) return
  annotate("checkpoint.values", values.length)
  annotate(
    "checkpoint.bytes",
    values.reduce((bytes, { blob }) => bytes + (blob?.byteLength ?? 0), 0)
  )
}
