/**
 * A tracer that keeps the spans that were made.
 */
import { Effect, Tracer } from "effect"

export const recorder = Effect.map(Effect.tracer, (native) => {
  const spans: Array<Tracer.Span> = []
  const tracer = Tracer.make({
    ...native,
    span: (...parameters) => {
      const span = native.span(...parameters)
      spans.push(span)
      return span
    }
  })
  return { spans, tracer }
})
