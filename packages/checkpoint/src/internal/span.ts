/** @internal */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Tracer from "effect/Tracer"

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
