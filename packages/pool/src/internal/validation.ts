/**
 * From the options that people write to the numbers that the state counts with, refusing what can't work.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { ConnectTimeout, InvalidPoolOptions } from "../PoolError.ts"
import type { defaults, Options } from "../PoolOptions.ts"
import type { Config } from "./state/config.ts"

type Bounded = Options<unknown, unknown, unknown>

/** The options that are names, numbers and durations, all given. @internal */
export type Bounds = { readonly [K in keyof typeof defaults | "name"]-?: Exclude<Bounded[K], undefined> }

type Durations = { [K in keyof Bounds]: Duration.Duration extends Bounds[K] ? K : never }[keyof Bounds]

/** @internal */
export const bounds = (pool: string, min: number, max: number): Effect.Effect<void, InvalidPoolOptions> => {
  const refuse = (option: string, value: unknown, reason: string) =>
    Effect.fail(new InvalidPoolOptions({ pool, option, value, reason }))
  if (!Number.isInteger(max) || max < 1) return refuse("max", max, "it has to be a whole number of at least 1")
  if (!Number.isInteger(min) || min < 0) return refuse("min", min, "it has to be a whole number of at least 0")
  if (min > max) return refuse("min", min, `it can't be more than max (${max})`)
  return Effect.void
}

/** @internal */
export const duration = (
  pool: string,
  option: string,
  value: Duration.DurationInput
): Effect.Effect<number, InvalidPoolOptions> =>
  Effect.mapError(
    Effect.try(() => Duration.toMillis(Duration.decode(value))),
    () => new InvalidPoolOptions({ pool, option, value, reason: 'it has to be a duration, such as "5 seconds"' })
  )

/** @internal */
export const toConfig = (
  given: Bounds,
  rest: { readonly checked: boolean; readonly random: () => number }
): Effect.Effect<Config, InvalidPoolOptions> =>
  Effect.gen(function* () {
    const { lifetimeJitter, max, min, name } = given
    const refuse = (option: keyof Bounds, reason: string) =>
      Effect.fail(new InvalidPoolOptions({ pool: name, option, value: given[option], reason }))
    const whole = (option: "maxUses" | "maxWaiting" | "maxConnecting", least: number) => {
      const value = given[option]
      return value === Number.POSITIVE_INFINITY || (Number.isInteger(value) && value >= least)
        ? Effect.succeed(value)
        : refuse(option, `it has to be a whole number of at least ${least}, or Infinity`)
    }
    const millis = (option: Durations) => duration(name, option, given[option])
    // At zero these would open and close, or try, again and again without a pause.
    const positive = (option: Durations) =>
      Effect.flatMap(millis(option), (millis) =>
        millis > 0 ? Effect.succeed(millis) : refuse(option, "it has to be longer than nothing")
      )
    yield* bounds(name, min, max)
    if (!(lifetimeJitter >= 0 && lifetimeJitter <= 1)) yield* refuse("lifetimeJitter", "it has to be between 0 and 1")
    return {
      name,
      min,
      max,
      warm: given.start !== "lazy",
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
      lifetimeJitter,
      maxUses: yield* whole("maxUses", 1),
      leakAfter: yield* millis("leakAfter"),
      unavailableAfter: yield* millis("unavailableAfter"),
      retryBase: yield* positive("retryBase"),
      retryCap: yield* positive("retryCap"),
      random: rest.random,
      connectTimedOut: (took) => new ConnectTimeout({ pool: name, took })
    }
  })
