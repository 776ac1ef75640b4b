/**
 * How a statement fails on a condition of ours: it tries to read a text as a number. The text is the mark to know it by.
 *
 * @internal
 */
import * as Predicate from "effect/Predicate"

/** Whether that is what a statement failed on. @internal */
export const failedOn = (error: unknown, mark: string): boolean => {
  for (let current = error, i = 0; current !== undefined && i < 10; i++) {
    if (
      current instanceof Error &&
      Predicate.hasProperty(current, "code") &&
      current.code === "22P02" &&
      current.message.includes(mark)
    )
      return true
    current = Predicate.hasProperty(current, "cause") ? current.cause : undefined
  }
  return false
}
