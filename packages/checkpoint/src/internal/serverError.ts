/**
 * What the server said, which stands somewhere in the chain of causes.
 *
 * @internal
 */
import * as Predicate from "effect/Predicate"

/** Whether that is so of an error with a SQLSTATE. @internal */
export const is = (error: unknown, holds: (code: unknown, message: string) => boolean): boolean => {
  for (let current = error, i = 0; current !== undefined && i < 10; i++) {
    if (current instanceof Error && Predicate.hasProperty(current, "code") && holds(current.code, current.message)) {
      return true
    }
    current = Predicate.hasProperty(current, "cause") ? current.cause : undefined
  }
  return false
}
