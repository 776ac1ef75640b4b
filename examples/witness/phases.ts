/**
 * Before and after: the same conversations on the same checkpointer, first with a new connection for each write and then
 * with the pool. Each write takes a connection of its own, so that the pool is the only difference; what group commit
 * adds is a phase by itself.
 */
import { PgPool, type PgPoolConfig } from "@checkpool/pg"
import { Effect } from "effect"
import * as Lab from "./lab.ts"
import { shape, summary } from "./measure.ts"
import type { Mode, PhaseResult } from "./result.ts"
import { mission } from "./settings.ts"
import type { Place, Target } from "./target.ts"
import type { WitnessError } from "./trouble.ts"
import * as Workload from "./workload.ts"

export interface Phase {
  readonly place: Place
  readonly mode: Mode
  readonly callers: number
  readonly groupCommit: boolean
  /** Longer than this, up to four times, if it has made fewer writes. */
  readonly seconds: number
  readonly leastPuts: number
}

/** The phases of each place, in their order. */
export const of = ({ settings, target }: Pick<Lab.Lab, "settings" | "target">): ReadonlyArray<Phase> =>
  [...target.ways.keys()].flatMap((place) => {
    const { crowd, leastPuts, seconds, threads } = settings
    // Alone, since callers that open connections side by side get into each other's way on a small machine.
    const before = { place, mode: "before", groupCommit: false } as const
    const after = { place, mode: "after", groupCommit: false, seconds } as const
    const many = { callers: crowd * target.max, leastPuts }
    return [
      ...(threads === 1 ? [] : [{ ...before, callers: 1, seconds: seconds / 3, leastPuts: 20 }]),
      { ...before, callers: threads, seconds, leastPuts: 50 },
      { ...after, callers: threads, leastPuts: Math.min(leastPuts, 20 * threads) },
      { ...after, ...many },
      { ...after, ...many, groupCommit: true }
    ]
  })

/** Some writes by each way that are not counted, so that the first phase does not pay for a cold program. */
export const warmUp = (lab: Lab.Lab): Effect.Effect<unknown, WitnessError> =>
  Effect.forEach(["before", "after"] as const, (mode) =>
    run(
      lab,
      { place: "direct", mode, groupCommit: false, callers: 10, seconds: lab.settings.seconds / 5, leastPuts: 50 },
      false
    )
  )

type Kind = Pick<Phase, "callers" | "groupCommit" | "mode">

/** What is told apart in the phase's place, and by how many callers. */
export const kind = ({ groupCommit, mode }: Kind): string => (groupCommit ? "grouped" : mode)
export const callers = ({ callers }: Kind): string => `${callers} ${callers === 1 ? "caller" : "callers"}`

export const title = (phase: Phase): string =>
  `${kind(phase)}, ${phase.place === "relay" ? "10 ms away" : "direct"}, ${callers(phase)}`

export const run = (lab: Lab.Lab, phase: Phase, counted = true): Effect.Effect<PhaseResult, WitnessError> =>
  Effect.gen(function* () {
    const { target } = lab
    const outcome = new Workload.Outcome()
    const name = `${counted ? "phase" : "warm-up"}: ${title(phase)}`
    const observed = yield* Lab.observe(
      lab,
      { name, place: phase.place, config: configOf(phase.mode, target), groupCommit: phase.groupCommit },
      (samples) =>
        Effect.gen(function* () {
          if (phase.mode === "after" && phase.callers <= target.max) yield* openFor(phase.callers)
          const first = samples.length
          const began = yield* Workload.now
          const limit = phase.seconds * 1000
          yield* Workload.play(lab.workload, {
            callers: phase.callers,
            outcome,
            done: (now) =>
              now - began >= 4 * limit || (now - began >= limit && outcome.latencies.length >= phase.leastPuts)
          })
          return { first, seconds: ((yield* Workload.now) - began) / 1000 }
        })
    ).pipe(
      counted
        ? (effect) =>
            lab.progress.during(
              title(phase),
              { now: () => `${outcome.latencies.length} puts`, done: ({ value }) => told(outcome, value.seconds) },
              effect
            )
        : (effect) => effect
    )
    const { first, seconds } = observed.value
    const acquisitions = observed.samples.slice(first)
    return {
      place: phase.place,
      mode: phase.mode,
      callers: phase.callers,
      groupCommit: phase.groupCommit,
      max: target.max,
      seconds,
      puts: outcome.latencies.length,
      failed: outcome.failed,
      acquisition: summary(acquisitions),
      acquisitionShape: shape(acquisitions),
      put: summary(outcome.latencies),
      putsPerSecond: outcome.latencies.length / seconds,
      acquired: observed.stats.acquired,
      reused: observed.stats.reused,
      opened: observed.stats.opened,
      peak: observed.peak,
      left: observed.left,
      histogram: observed.histogram
    }
  })

/**
 * Before: the same pool, told to keep nothing, so that each write opens a connection, uses it once, and leaves closing
 * it to others; nothing holds opening back. After: the mission's settings.
 */
const configOf = (mode: Mode, { max, min }: Target): Omit<PgPoolConfig.PgPoolConfig, "url" | "name"> =>
  mode === "before"
    ? { minConnections: 0, maxConnections: max, maxUses: 1, maxConnecting: max, start: "lazy" }
    : { ...mission, minConnections: min, maxConnections: max, start: "min" }

/** With as many connections open as there will be callers, what is measured is acquiring, and not the pool's growth. */
const openFor = (callers: number) =>
  Effect.flatMap(PgPool.PgPool, (pool) =>
    Effect.scoped(
      Effect.all(
        Array.from({ length: callers }, () => pool.get),
        { concurrency: "unbounded" }
      )
    )
  ).pipe(Effect.orDie)

const told = (outcome: Workload.Outcome, seconds: number): string =>
  `${outcome.latencies.length} puts in ${seconds.toFixed(1)} s` +
  (outcome.failures.length === 0 ? "" : `, ${outcome.failures.length} failed`)
