/**
 * The whole run: a server, a schema, the phases one after another, and what they found.
 */
import { ObservabilityServer, Pools } from "@checkpool/observability"
import { Effect } from "effect"
import * as Integrity from "./integrity.ts"
import * as Interruption from "./interruption.ts"
import * as Lab from "./lab.ts"
import { Ledger } from "./ledger.ts"
import * as Phases from "./phases.ts"
import * as Play from "./play.ts"
import type { Progress } from "./progress.ts"
import type { Findings } from "./result.ts"
import * as Saturation from "./saturation.ts"
import * as Target from "./target.ts"
import { reason, WitnessError } from "./trouble.ts"
import * as Workload from "./workload.ts"

export interface Options extends Target.Options {
  readonly progress: Progress
  /** Serves the live page meanwhile. */
  readonly watch: boolean
}

export const run = Effect.fnUntraced(function* (options: Options) {
  const { progress, settings } = options
  const began = yield* Workload.now
  const scenes = yield* Effect.mapError(
    Play.load,
    (cause) => new WitnessError({ message: `The text can't be read: ${reason(cause)}.`, cause })
  )
  const target = yield* progress.during(
    "a server",
    {
      done: ({ embedded, facts }) => `PostgreSQL ${facts.version}${embedded ? ", from npm, started for this run" : ""}`
    },
    Target.make(options)
  )
  for (const remark of target.remarks) yield* progress.note(remark)
  yield* progress.note(
    `Pool: ${target.min} to ${target.max} connections. "before": each put opens a connection and uses it once.`
  )
  yield* Lab.migrate(target)
  const pools = yield* Pools.make
  if (options.watch) yield* progress.note(`Live page: ${(yield* serve(pools)).url}`)
  const workload = { scenes, steps: settings.steps, ledger: new Ledger(), run: target.run }
  const lab: Lab.Lab = { target, settings, workload, progress, pools }

  yield* progress.during("warming up", { done: () => "done" }, Phases.warmUp(lab))
  const before = yield* target.observer.statistics
  const phases = yield* Effect.forEach(Phases.of(lab), (phase) => Phases.run(lab, phase))
  const saturation = yield* Saturation.run(lab)
  const interruption = yield* Interruption.run(lab)
  const after = yield* target.observer.statistics
  const integrity = yield* Integrity.run(lab)
  return {
    server: { ...target.facts, embedded: target.embedded },
    remarks: target.remarks,
    settings,
    pool: { min: target.min, max: target.max },
    phases,
    saturation,
    interruption,
    integrity,
    statistics: { before, after },
    seconds: ((yield* Workload.now) - began) / 1000
  } satisfies Findings
}, Effect.scoped)

/** At its usual port, or at any that is free. */
const serve = (pools: Pools.Pools) =>
  ObservabilityServer.make(pools).pipe(
    Effect.orElse(() => ObservabilityServer.make(pools, { port: 0 })),
    Effect.mapError((cause) => new WitnessError({ message: `The live page can't be served: ${reason(cause)}.`, cause }))
  )
