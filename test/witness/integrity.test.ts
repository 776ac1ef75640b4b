import { Pools } from "@checkpool/observability"
import { NodeContext } from "@effect/platform-node"
import { expect, it } from "@effect/vitest"
import { Effect, Option } from "effect"
import * as Integrity from "../../examples/witness/integrity.ts"
import * as Lab from "../../examples/witness/lab.ts"
import { Ledger } from "../../examples/witness/ledger.ts"
import * as Play from "../../examples/witness/play.ts"
import * as Progress from "../../examples/witness/progress.ts"
import type { IntegrityResult } from "../../examples/witness/result.ts"
import { quick } from "../../examples/witness/settings.ts"
import * as Target from "../../examples/witness/target.ts"
import * as Workload from "../../examples/witness/workload.ts"

const settings = { ...quick, readBack: 1000 }

/** Two conversations of six turns each, written and then tampered with, on the server of a witness. */
const judged = (tamper: (schema: string) => ReadonlyArray<string>, forget?: (ledger: Ledger) => void) =>
  Effect.gen(function* () {
    const target = yield* Target.make({ url: Option.none(), schema: Option.none(), settings })
    yield* Lab.migrate(target)
    const ledger = new Ledger()
    const workload = { scenes: yield* Play.load, steps: 6, ledger, run: target.run }
    const progress = Progress.make({ write: () => {}, live: false, columns: 100 })
    const lab: Lab.Lab = { target, settings, workload, progress, pools: yield* Pools.make }
    const outcome = new Workload.Outcome()
    const config = { minConnections: 0, maxConnections: 2 }
    yield* Lab.observe(lab, { name: `written ${target.run}`, place: "direct", config }, () =>
      Workload.play(workload, { callers: 2, outcome, done: () => outcome.tried >= 12 })
    )
    expect(outcome.failures).toEqual([])
    forget?.(ledger)
    for (const statement of tamper(target.schema)) yield* target.observer.sql.unsafe(statement)
    return yield* Integrity.run(lab)
  }).pipe(Effect.scoped, Effect.provide(NodeContext.layer))

const whole: Partial<IntegrityResult> = {
  doubtful: 0,
  missing: 0,
  landed: 0,
  unknown: 0,
  withoutBlob: 0,
  withoutCheckpoint: 0,
  different: 0
}

const first = (schema: string, which = "true") =>
  `WHERE ctid = (SELECT min(ctid) FROM ${schema}.checkpoint_blobs WHERE ${which})`

it.live("What was written is found whole", () =>
  Effect.gen(function* () {
    const found = yield* judged(() => [])
    expect(found).toMatchObject(whole)
    expect(found.acked).toBeGreaterThanOrEqual(12)
    expect(found.readBack).toBe(found.acked)
  })
)

it.live("A value that is missing is noticed", () =>
  Effect.gen(function* () {
    const found = yield* judged((schema) => [`DELETE FROM ${schema}.checkpoint_blobs ${first(schema)}`])
    expect(found.withoutBlob).toBe(1)
    expect(found.different).toBeGreaterThan(0)
  })
)

it.live("A checkpoint that is missing is noticed, and the values that it left behind", () =>
  Effect.gen(function* () {
    const found = yield* judged((schema) => [`DELETE FROM ${schema}.checkpoints`])
    expect(found.missing).toBe(found.acked)
    expect(found.withoutCheckpoint).toBeGreaterThan(0)
  })
)

it.live("A value that is another one is noticed", () =>
  Effect.gen(function* () {
    const found = yield* judged((schema) => [
      `UPDATE ${schema}.checkpoint_blobs SET blob = 'null' ${first(schema, "channel = 'turn'")}`
    ])
    expect(found).toMatchObject({ ...whole, different: 1 })
  })
)

it.live("A write that nobody acknowledged may be there, if it is whole; one that nobody tried may not", () =>
  Effect.gen(function* () {
    const found = yield* judged(
      () => [],
      (ledger) => {
        ledger.entries[0]!.acked = false
        ledger.entries.pop()
      }
    )
    expect(found).toMatchObject({ ...whole, doubtful: 1, landed: 1, unknown: 1 })
  })
)
