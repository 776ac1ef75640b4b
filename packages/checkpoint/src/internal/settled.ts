/**
 * Effects that may be done already, as those of the default codec are. To run one takes longer than to encode a small
 * value, and an operation consists of many.
 *
 * @internal
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { type YieldWrap, yieldWrapGet } from "effect/Utils"

/**
 * As `Effect.fnUntraced`, but it goes on at once as far as what it yields is settled, and then gives an effect that is
 * settled too. It begins when it is called, so what it gives is to be run once.
 *
 * @internal
 */
export const fn =
  <Args extends ReadonlyArray<unknown>, A, E>(body: (...args: Args) => Effect.fn.Return<A, E>) =>
  (...args: Args): Effect.Effect<A, E> => {
    const iterator = body(...args)
    const goOn = (value: unknown): Effect.Effect<A, E> => {
      for (let step = iterator.next(value); ; ) {
        if (step.done === true) return Effect.succeed(step.value)
        const effect = yieldWrapGet(step.value as YieldWrap<Effect.Effect<unknown, E>>)
        if (!isSettled(effect)) return Effect.flatMap(effect, goOn)
        step = iterator.next(effect.value)
      }
    }
    return goOn(undefined)
  }

/** What it has come to, if it has succeeded already: to yield it would take longer. @internal */
export const valueOf = <A, E>(effect: Effect.Effect<A, E>): A | undefined =>
  isSettled(effect) ? effect.value : undefined

/** As `Effect.flatMap`, at once if it has succeeded already. To be run once, as what `fn` gives. @internal */
export const flatMap = <A, E, B, E2>(
  effect: Effect.Effect<A, E>,
  f: (value: A) => Effect.Effect<B, E2>
): Effect.Effect<B, E | E2> => (isSettled(effect) ? f(effect.value) : Effect.flatMap(effect, f))

/** As `Effect.all`, at once if all have succeeded already. @internal */
export const all = <A, E>(effects: ReadonlyArray<Effect.Effect<A, E>>): Effect.Effect<ReadonlyArray<A>, E> =>
  effects.every(isSettled) ? Effect.succeed(effects.map(({ value }) => value)) : Effect.all(effects)

const isSettled = <A, E>(effect: Effect.Effect<A, E>): effect is Exit.Success<A, E> =>
  Exit.isExit(effect) && Exit.isSuccess(effect)
