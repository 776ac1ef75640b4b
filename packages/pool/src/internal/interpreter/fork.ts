/**
 * The pool's own fibers. They run in the runtime that the pool was made with, and outlive whoever caused them.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as Runtime from "effect/Runtime"
import * as RuntimeFlags from "effect/RuntimeFlags"

/**
 * Starts a fiber; undefined if the runtime itself threw (a supervisor or a scheduler of the user's may): then it is as if
 * the fiber hung, and the state's deadlines see to it. @internal
 */
export type Fork<R> = <B, E>(effect: Effect.Effect<B, E, R>) => Fiber.RuntimeFiber<B, E> | undefined

/** @internal */
export const makeFork = <R>(runtime: Runtime.Runtime<R>, pool: string): Fork<R> => {
  // They begin uninterruptible: one that is given up before its first step still reports how it ended.
  const uninterruptible = Runtime.disableRuntimeFlag(runtime, RuntimeFlags.Interruption)
  const attempt: Fork<R> = (effect) => Runtime.runFork(uninterruptible, effect, { immediate: false })
  return (effect) => {
    try {
      return attempt(effect)
    } catch (defect) {
      try {
        attempt(
          Effect.logError(`Pool "${pool}": the runtime that it was made in can't start a fiber`, Cause.die(defect))
        )
      } catch {
        // Then nobody can be told either.
      }
      return undefined
    }
  }
}
