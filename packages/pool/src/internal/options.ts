/**
 * From the options that people write to the numbers that the state counts with, refusing what can't work.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { ConnectTimeout, InvalidPoolOptions } from "../PoolError.ts"
import type { Config } from "./model.ts"

/** The options of `Pool.make` that are numbers and durations, all given. @internal */
export interface Bounds {
  readonly name: string
  readonly min: number
  readonly max: number
  readonly acquireTimeout: Duration.DurationInput
  readonly maxWaiting: number
  readonly idleTimeout: Duration.DurationInput
  readonly lifetime: Duration.DurationInput
  readonly maxUses: number
  readonly checkAfter: Duration.DurationInput
  readonly connectTimeout: Duration.DurationInput
  readonly maxConnecting: number
  readonly checkTimeout: Duration.DurationInput
  readonly resetTimeout: Duration.DurationInput
  readonly closeTimeout: Duration.DurationInput
  readonly lifetimeJitter: number
  readonly leakAfter: Duration.DurationInput
  readonly unavailableAfter: Duration.DurationInput
  readonly retryBase: Duration.DurationInput
  readonly retryCap: Duration.DurationInput
}

type Durations = { [K in keyof Bounds]: Bounds[K] extends number | string ? never : K }[keyof Bounds]

/** @internal */
export const check = (pool: string, min: number, max: number): Effect.Effect<void, InvalidPoolOptions> => {
  const refuse = (option: string, value: unknown, reason: string) =>
    Effect.fail(new InvalidPoolOptions({ pool, option, value, reason }))
  if (!Number.isInteger(max) || max < 1) return refuse("max", max, "it has to be a whole number of at least 1")
  if (!Number.isInteger(min) || min < 0) return refuse("min", min, "it has to be a whole number of at least 0")
  if (min > max) return refuse("min", min, `it can't be more than max (${max})`)
  return Effect.void
}

/** @internal */
export const toConfig = (
  bounds: Bounds,
  rest: { readonly warm: boolean; readonly checked: boolean; readonly random: () => number }
): Effect.Effect<Config, InvalidPoolOptions> =>
  Effect.gen(function* () {
    const refuse = (option: string, value: unknown, reason: string) =>
      new InvalidPoolOptions({ pool: bounds.name, option, value, reason })
    const whole = (option: "maxUses" | "maxWaiting" | "maxConnecting", least: number) => {
      const value = bounds[option]
      return value === Number.POSITIVE_INFINITY || (Number.isInteger(value) && value >= least)
        ? Effect.succeed(value)
        : Effect.fail(refuse(option, value, `it has to be a whole number of at least ${least}, or Infinity`))
    }
    const millis = (option: Durations) =>
      Effect.mapError(
        Effect.try(() => Duration.toMillis(Duration.decode(bounds[option]))),
        () => refuse(option, bounds[option], 'it has to be a duration, such as "5 seconds"')
      )
    // At zero these would open and close, or try, again and again without a pause.
    const positive = (option: Durations) =>
      Effect.filterOrFail(
        millis(option),
        (millis) => millis > 0,
        () => refuse(option, bounds[option], "it has to be longer than nothing")
      )
    yield* check(bounds.name, bounds.min, bounds.max)
    if (!(bounds.lifetimeJitter >= 0 && bounds.lifetimeJitter <= 1)) {
      return yield* refuse("lifetimeJitter", bounds.lifetimeJitter, "it has to be between 0 and 1")
    }
    return {
      name: bounds.name,
      min: bounds.min,
      max: bounds.max,
      warm: rest.warm,
      maxWaiting: yield* whole("maxWaiting", 0),
      maxConnecting: yield* whole("maxConnecting", 1),
      acquireTimeout: yield* millis("acquireTimeout"),
      connectTimeout: yield* positive("connectTimeout"),
      checkAfter: rest.checked ? yield* millis("checkAfter") : Number.POSITIVE_INFINITY,
      checkTimeout: yield* positive("checkTimeout"),
      resetTimeout: yield* positive("resetTimeout"),
      closeTimeout: yield* millis("closeTimeout"),
      idleTimeout: yield* millis("idleTimeout"),
      lifetime: yield* positive("lifetime"),
      lifetimeJitter: bounds.lifetimeJitter,
      maxUses: yield* whole("maxUses", 1),
      leakAfter: yield* millis("leakAfter"),
      unavailableAfter: yield* millis("unavailableAfter"),
      retryBase: yield* positive("retryBase"),
      retryCap: yield* positive("retryCap"),
      random: rest.random,
      connectTimedOut: (took) => new ConnectTimeout({ pool: bounds.name, took })
    }
  })
