/**
 * Far more callers than connections, and little patience: everybody gets an answer, and soon.
 */
import { Checkpointer } from "@checkpool/checkpoint"
import { PgPool } from "@checkpool/pg"
import { Duration, Effect, Fiber } from "effect"
import * as Lab from "./lab.ts"
import { summary, tally } from "./measure.ts"
import type { Moment, SaturationResult } from "./result.ts"
import { mission, saturation } from "./settings.ts"
import type { WitnessError } from "./trouble.ts"
import * as Workload from "./workload.ts"

/** How long the phase may last, whatever happens: nobody may hang, and neither may the witness. */
const cutOff = Duration.seconds(10)

interface Answer {
  /** What the caller was turned away with; nothing when it was served. */
  readonly error: string | undefined
  readonly after: number
}

export const run = (lab: Lab.Lab): Effect.Effect<SaturationResult, WitnessError> =>
  Effect.gen(function* () {
    const { acquireTimeout, arrival, callers, connections, maxWaiting } = saturation
    const answers: Array<Answer> = []
    const place = lab.target.ways.has("relay") ? "relay" : "direct"
    // Close by, writes are so fast that only a crowd that comes at once is too many.
    const arrivalMillis = place === "relay" ? Duration.toMillis(arrival) : 0
    const observed = yield* Lab.observe(
      lab,
      {
        name: "saturation",
        place,
        config: {
          ...mission,
          minConnections: connections,
          maxConnections: connections,
          acquireTimeout,
          maxWaiting,
          start: "min"
        },
        // Which would absorb them all: five connections are enough for writes that share statements.
        groupCommit: false
      },
      () =>
        Effect.gen(function* () {
          const timeline: Array<Moment> = []
          const watching = yield* Effect.fork(watch(timeline))
          yield* Effect.timeoutOption(
            Effect.all(
              Array.from({ length: callers }, (_, i) =>
                Effect.delay(call(lab, answers), (i / callers) * arrivalMillis)
              ),
              { concurrency: "unbounded", discard: true }
            ),
            cutOff
          )
          const slowestMillis = Math.max(0, ...answers.map(({ after }) => after))
          yield* Lab.settled
          yield* Fiber.interrupt(watching)
          const afterwards: Array<Answer> = []
          yield* call(lab, afterwards)
          return { slowestMillis, servedAfterwards: afterwards[0]?.error === undefined, timeline }
        })
    ).pipe((effect) =>
      lab.progress.during(
        `saturation, ${callers} callers`,
        {
          now: () => `${answers.length} answered`,
          done: () => {
            const served = answers.filter(({ error }) => error === undefined).length
            return `${served} served, ${answers.length - served} turned away, ${callers - answers.length} unanswered`
          }
        },
        effect
      )
    )
    const turned = answers.filter((answer) => answer.error !== undefined)
    const counts = tally(turned.map(({ error }) => error ?? ""))
    return {
      callers,
      arrivalMillis,
      connections,
      maxWaiting,
      acquireTimeoutMillis: Duration.toMillis(acquireTimeout),
      served: answers.length - turned.length,
      turnedAway: Object.fromEntries(
        Object.entries(counts).map(([tag, count]) => [
          tag,
          { count, after: summary(turned.filter(({ error }) => error === tag).map(({ after }) => after)) }
        ])
      ),
      unanswered: callers - answers.length,
      ...observed.value,
      left: observed.left,
      histogram: observed.histogram
    }
  })

/** Looks at the pool every few milliseconds, until it is interrupted. */
const watch = (timeline: Array<Moment>) =>
  Effect.gen(function* () {
    const pool = yield* PgPool.PgPool
    const began = yield* Workload.now
    for (;;) {
      const { idle, leased, waiting } = pool.unsafeStats()
      timeline.push({ at: (yield* Workload.now) - began, leased, idle, waiting })
      yield* Effect.sleep("4 millis")
    }
  })

/** One write, and what came of it. */
const call = (lab: Lab.Lab, answers: Array<Answer>) =>
  Effect.gen(function* () {
    const checkpointer = yield* Checkpointer.Checkpointer
    const outcome = new Workload.Outcome()
    const began = yield* Workload.now
    yield* Workload.save(lab.workload, {
      conversation: Workload.begin(lab.workload),
      turn: 0,
      parentId: undefined,
      put: checkpointer.put,
      outcome
    })
    answers.push({ error: outcome.failures[0], after: (yield* Workload.now) - began })
  })
