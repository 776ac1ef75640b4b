/**
 * Writers that are interrupted in mid-flight, on connections that the server ends under them: what is in the database
 * afterwards has to be whole all the same.
 */
import { Data, Effect, Fiber, Random } from "effect"
import * as Lab from "./lab.ts"
import type { InterruptionResult } from "./result.ts"
import { adversity, mission } from "./settings.ts"
import type { WitnessError } from "./trouble.ts"
import * as Workload from "./workload.ts"

export const run = (lab: Lab.Lab): Effect.Effect<InterruptionResult, WitnessError> =>
  Effect.gen(function* () {
    const { connections, patienceMillis, terminateEvery, writers } = adversity
    const outcome = new Workload.Outcome()
    let terminated = 0
    const place = lab.target.ways.has("relay") ? "relay" : "direct"
    const max = Math.min(connections, lab.target.max)
    const observed = yield* Lab.observe(
      lab,
      { name: "interruption", place, config: { ...mission, minConnections: 10, maxConnections: max } },
      () =>
        Effect.gen(function* () {
          const began = yield* Workload.now
          const saboteur = yield* lab.target.observer.terminateOne.pipe(
            Effect.tap(() => Effect.sync(() => terminated++)),
            Effect.uninterruptible,
            Effect.zipLeft(Effect.sleep(terminateEvery)),
            Effect.forever,
            Effect.fork
          )
          yield* Workload.play(lab.workload, {
            callers: writers,
            outcome,
            done: (now) => now - began >= lab.settings.seconds * 1000,
            // Interrupted wherever it is: in the queue, on its way to the server, or on its way back.
            through: (put) => (options) =>
              Effect.flatMap(Random.nextIntBetween(0, patienceMillis), (duration) =>
                Effect.timeoutFail(put(options), { duration, onTimeout: () => new Interrupted() })
              )
          })
          yield* Fiber.interrupt(saboteur)
        })
    )
    const { Interrupted: interrupted = 0, ...failed } = outcome.failed
    return {
      writers,
      puts: outcome.latencies.length,
      interrupted,
      failed,
      terminated,
      left: observed.left,
      histogram: observed.histogram
    }
  })

class Interrupted extends Data.TaggedError("Interrupted") {}
