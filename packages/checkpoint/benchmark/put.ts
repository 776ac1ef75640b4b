/**
 * What it costs to put checkpoints. Each writer has a thread of its own and puts one checkpoint after the other.
 */
import { medianTime, sideBySide } from "@checkpool/benchmark/SideBySide"
import type { Checkpointer } from "@checkpool/checkpoint"
import { TcpRelay } from "@checkpool/embedded"
import { emptyCheckpoint } from "@langchain/langgraph-checkpoint"
import type { PostgresSaver } from "@langchain/langgraph-checkpoint-postgres"
import { Effect, Option, Redacted } from "effect"
import * as Contestants from "./contestants.ts"
import * as Pgbench from "./pgbench.ts"
import * as Row from "./row.ts"
import type { Server } from "./server.ts"
import type { Effort } from "./settings.ts"
import { makeSteps } from "./workload.ts"

export const variants = ["stock saver", "ours", "without group commit", "ours on sql-pg", "pgbench"]

interface Setting {
  readonly kilobytes: number
  readonly writers: number
  readonly target?: number
  /** Of what pgbench does, in percent. */
  readonly ofPgbench?: number
}

const near: ReadonlyArray<Setting> = [
  { kilobytes: 1, writers: 1, target: 2, ofPgbench: 70 },
  { kilobytes: 1, writers: 16, target: 4.4 },
  { kilobytes: 1, writers: 64, target: 7, ofPgbench: 200 },
  { kilobytes: 16, writers: 1 },
  { kilobytes: 16, writers: 16 },
  { kilobytes: 16, writers: 64, target: 2.4 }
]

const far: ReadonlyArray<Setting> = [
  { kilobytes: 1, writers: 1 },
  { kilobytes: 1, writers: 16 },
  { kilobytes: 1, writers: 64, target: 26 },
  { kilobytes: 16, writers: 1 },
  { kilobytes: 16, writers: 16 },
  { kilobytes: 16, writers: 64 }
]

/** Tells each row as soon as it is there. */
export const measure = (server: Server, effort: Effort, tell: (row: Row.Row) => void) =>
  Effect.gen(function* () {
    const pgbench = yield* Pgbench.make(server)
    yield* Effect.scoped(
      Effect.gen(function* () {
        const contestants = yield* Contestants.make(server.url)
        // Node's compiler takes some ten thousand puts to be done with either, which are not to count for the first row alone.
        yield* row(contestants, near[1]!, "loopback", Option.none(), {
          rounds: 1,
          warmUp: 0,
          milliseconds: 8 * effort.milliseconds
        })
        for (const setting of near) tell(yield* row(contestants, setting, "loopback", pgbench, effort))
      })
    )
    const relay = yield* TcpRelay.make({ target: server, roundTrip: "10 millis" })
    const url = new URL(Redacted.value(server.url))
    url.host = `${relay.host}:${relay.port}`
    const contestants = yield* Contestants.make(Redacted.make(url.href))
    for (const setting of far) tell(yield* row(contestants, setting, "10 ms away", Option.none(), effort))
    tell(yield* lone(contestants, effort))
  }).pipe(Effect.scoped)

const row = (
  { alone, onSqlPg, ours, sql, stock }: Contestants.Contestants,
  { kilobytes, ofPgbench, target, writers }: Setting,
  where: string,
  pgbench: Option.Option<Pgbench.Pgbench>,
  effort: Effort
) =>
  Effect.gen(function* () {
    yield* sql`TRUNCATE checkpoints, checkpoint_blobs, checkpoint_writes`
    const bytes = kilobytes * 1024
    const all = [
      () => withStock(stock, writers, bytes, effort.milliseconds),
      ...[ours, alone, onSqlPg].map((each) => () => withOurs(each, writers, bytes, effort.milliseconds)),
      ...Option.toArray(Option.map(pgbench, (run) => () => run(writers, bytes, effort.milliseconds)))
    ]
    const results = yield* Effect.promise(() => sideBySide(all, { ...effort, better: "higher" }))
    const name = `${kilobytes} KB, ${writers} ${writers === 1 ? "writer" : "writers"}, ${where}`
    const theirs = results[4]
    const goals =
      ofPgbench === undefined || theirs === undefined
        ? []
        : [percentOf(ofPgbench, "of pgbench", results[1]!.against(theirs).median * 100)]
    return Row.make(name, variants, results, target, goals)
  })

const percentOf = (target: number, what: string, percent: number): Row.Goal => ({
  text: `≥ ${target} % ${what} (${percent.toFixed(0)} %)`,
  reached: percent / target
})

/** The latency of one put, far away, beside that of the least that a round trip can do. */
const lone = ({ ours, sql, stock }: Contestants.Contestants, effort: Effort) =>
  Effect.gen(function* () {
    const steps = makeSteps("lone", 1024)
    const others = makeSteps("lone, with the stock saver", 1024)
    const all = [
      () => putWithStock(stock, others),
      () => Effect.runPromise(ours.put(steps())),
      () => Effect.runPromise(sql`SELECT 1`)
    ].map((run) => () => medianTime(run, effort.milliseconds))
    const results = yield* Effect.promise(() => sideBySide(all, { ...effort, better: "lower" }))
    const ratio = 1 / results[1]!.against(results[2]!).median
    const made = Row.make("p50 in ms of one put of 1 KB, 10 ms away", variants, results.slice(0, 2), undefined)
    return { ...made, goals: [{ text: `≤ 1.15× a warm SELECT (${ratio.toFixed(2)}×)`, reached: 1.15 / ratio }] }
  })

let threads = 0
const stepsOf = (writers: number, bytes: number) =>
  Array.from({ length: writers }, () => makeSteps(`thread ${++threads}`, bytes))

type Steps = ReturnType<typeof makeSteps>

const putWithStock = (saver: PostgresSaver, next: Steps) => {
  const { checkpoint, metadata, newVersions, parentId, threadId } = next()
  const configurable = { thread_id: threadId, checkpoint_ns: "", checkpoint_id: parentId }
  return saver.put({ configurable }, { ...emptyCheckpoint(), ...checkpoint }, metadata, newVersions)
}

/** Puts per second, as are those below. */
const withStock = async (saver: PostgresSaver, writers: number, bytes: number, milliseconds: number) => {
  const steps = stepsOf(writers, bytes)
  const start = performance.now()
  const counts = await Promise.all(
    steps.map(async (next) => {
      let count = 0
      for (; performance.now() - start < milliseconds; count++) await putWithStock(saver, next)
      return count
    })
  )
  return rate(counts, start)
}

const withOurs = async (ours: Checkpointer.Service, writers: number, bytes: number, milliseconds: number) => {
  const steps = stepsOf(writers, bytes)
  const start = performance.now()
  const writer = (next: Steps) =>
    Effect.gen(function* () {
      let count = 0
      for (; performance.now() - start < milliseconds; count++) yield* ours.put(next())
      return count
    })
  return rate(await Effect.runPromise(Effect.forEach(steps, writer, { concurrency: "unbounded" })), start)
}

const rate = (counts: ReadonlyArray<number>, start: number) =>
  (counts.reduce((sum, count) => sum + count, 0) / (performance.now() - start)) * 1000
