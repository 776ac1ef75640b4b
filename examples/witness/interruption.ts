/**
 * Writers that are interrupted in mid-flight, on connections that the server ends under them: what is in the database
 * afterwards has to be whole all the same.
 */
import { Data, Effect, Random } from "effect"
import * as Lab from "./lab.ts"
import type { InterruptionResult } from "./result.ts"
import { adversity, mission } from "./settings.ts"
import type { WitnessError } from "./trouble.ts"
import * as Workload from "./workload.ts"

export const run = (lab: Lab.Lab): Effect.Effect<InterruptionResult, WitnessError> =>
  Effect.gen(function* () {
    const { connections, patienceMillis, share, terminateEvery, writers } = adversity
    const outcome = new Workload.Outcome()
    let terminated = 0
    const place = lab.target.ways.has("relay") ? "relay" : "direct"
    const max = Math.min(connections, lab.target.max)
    const observed = yield* Lab.observe(
      lab,
      {
        name: "interruption",
        place,
        config: { ...mission, minConnections: max, maxConnections: max, maxConnecting: max }
      },
      () =>
        Effect.gen(function* () {
          const began = yield* Workload.now
          const saboteur = lab.target.observer.terminateOne.pipe(
            Effect.tap((ended) => Effect.sync(() => (terminated += ended))),
            Effect.uninterruptible,
            Effect.zipRight(Effect.sleep(terminateEvery)),
            Effect.forever
          )
          const writing = Workload.play(lab.workload, {
            callers: writers,
            outcome,
            done: (now) => now - began >= lab.settings.seconds * 1000,
            // Interrupted wherever it is: in the queue, on its way to the server, or on its way back.
            through: (put) => (options) =>
              Effect.flatMap(Random.nextRange(0, patienceMillis / share), (millis) =>
                millis > patienceMillis
                  ? put(options)
                  : Effect.timeoutFail(put(options), { duration: millis, onTimeout: () => new Interrupted() })
              )
          })
          yield* Effect.raceFirst(writing, saboteur)
        })
    ).pipe((effect) =>
      lab.progress.during(
        `interruption, ${writers} writers`,
        {
          now: () => `${outcome.tried} puts`,
          done: () => `${outcome.latencies.length} puts acknowledged, ${outcome.failures.length} not`
        },
        effect
      )
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
