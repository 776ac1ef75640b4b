/**
 * An error and its causes, from the outside in, each of them once.
 *
 * @internal
 */
import * as Predicate from "effect/Predicate"

/** @internal */
export function* causes(error: unknown): Generator<unknown> {
  const seen = new Set<unknown>()
  for (let current = error; current !== undefined && !seen.has(current); ) {
    seen.add(current)
    yield current
    current = Predicate.hasProperty(current, "cause") ? current.cause : undefined
  }
}

/** Whether that is so of one of them that has a code, as the server's errors have. @internal */
export const someWithCode = (error: unknown, holds: (code: unknown, message: string) => boolean): boolean => {
  for (const cause of causes(error)) {
    if (cause instanceof Error && Predicate.hasProperty(cause, "code") && holds(cause.code, cause.message)) return true
  }
  return false
}
