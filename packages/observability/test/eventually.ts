import { Effect, Schedule } from "effect"

/** Waits for a condition instead of a time; dies with the last value when it does not come true in 10 s. */
export const eventually = <A, E, R>(effect: Effect.Effect<A, E, R>, holds: (a: A) => boolean) =>
  effect.pipe(
    Effect.filterOrFail(holds, (last) => `still ${JSON.stringify(last)}`),
    Effect.retry({ schedule: Schedule.spaced("10 millis"), times: 1000 }),
    Effect.orDie
  )
