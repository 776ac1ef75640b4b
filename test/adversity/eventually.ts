import { Duration, Effect, Schedule } from "effect"

/** Looks at least so often, also where each look takes long. */
const looks = 20

/**
 * Waits for a condition instead of a time; dies with the last value when it does not come true in 20 s, or whatever is
 * given as patience.
 */
export const eventually = <A, E, R>(
  effect: Effect.Effect<A, E, R>,
  holds: (a: A) => boolean,
  patience: Duration.DurationInput = "20 seconds"
) => {
  const pause = Math.min(10, Duration.toMillis(patience) / looks)
  return effect.pipe(
    Effect.filterOrFail(holds, (last) => `still ${JSON.stringify(last)}`),
    Effect.retry({ schedule: Schedule.spaced(pause), times: Math.ceil(Duration.toMillis(patience) / pause) }),
    Effect.timeoutFail({
      duration: Duration.sum(patience, "10 seconds"),
      onTimeout: () => `no answer in ${Duration.format(Duration.sum(patience, "10 seconds"))}`
    }),
    Effect.orDie
  )
}
