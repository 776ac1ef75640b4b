/**
 * What it costs to read checkpoints, all variants from the same rows.
 */
import * as Cores from "@checkpool/benchmark/Cores"
import { medianTime, sideBySide } from "@checkpool/benchmark/SideBySide"
import type { Checkpoint, Checkpointer } from "@checkpool/checkpoint"
import { SqlClient } from "@effect/sql"
import type { PostgresSaver } from "@langchain/langgraph-checkpoint-postgres"
import { Chunk, Effect, Option, Stream } from "effect"
import * as Contestants from "./contestants.ts"
import * as Row from "./row.ts"
import type { Server } from "./server.ts"
import type { Effort } from "./settings.ts"
import { fillThread } from "./workload.ts"

export const variants = ["stock saver", "ours", "ours on sql-pg"]

const threads = [
  { threadId: "1 KB × 10", kilobytes: 1, length: 10, target: 4.5 },
  { threadId: "1 KB × 1,000", kilobytes: 1, length: 1000, target: 7.5 },
  { threadId: "1 KB × 10,000", kilobytes: 1, length: 10_000, target: 38 },
  { threadId: "16 KB × 10", kilobytes: 16, length: 10, target: undefined },
  { threadId: "16 KB × 1,000", kilobytes: 16, length: 1000, target: undefined }
]

/**
 * A thread is seldom alone, and most are short. The planner sizes up a thread by their average: among long ones alone it
 * comes upon another plan for the stock saver's statement, at times, and that saver takes as long as with short ones.
 */
const others = Array.from({ length: 1000 }, (_, i) => ({ threadId: `other ${i}`, kilobytes: 1, length: 10 }))

/** Tells each row as soon as it is there. */
export const measure = (server: Server, effort: Effort, tell: (row: Row.Row) => void) =>
  Effect.gen(function* () {
    const { onSqlPg, ours, sql, stock } = yield* Contestants.make(server.url)
    const all = [...threads, ...others]
    yield* Effect.forEach(all, ({ kilobytes, length, threadId }) => fillThread(threadId, length, kilobytes * 1024), {
      concurrency: Contestants.connections
    }).pipe(Effect.provideService(SqlClient.SqlClient, sql))
    yield* sql`VACUUM ANALYZE checkpoints, checkpoint_blobs, checkpoint_writes`

    const row = (name: string, target: number | undefined, reads: ReadonlyArray<() => Promise<unknown>>) =>
      Effect.promise(async () => {
        agree(await Promise.all(reads.map((read) => read())))
        const timed = reads.map((read) => () => medianTime(read, effort.milliseconds / 2))
        return Row.make(name, variants, await sideBySide(timed, { ...effort, better: "lower" }), target)
      })

    const latest = (name: string, threadId: string, target: number | undefined) =>
      row(name, target, [() => getWithStock(stock, threadId), () => get(ours, threadId), () => get(onSqlPg, threadId)])
    // Where they can't be kept awake all rows are of cores that sleep.
    const canKeepAwake = yield* Effect.scoped(Cores.keepAwake)
    const asleep = ", cores asleep in between"
    if (canKeepAwake) {
      for (const { target, threadId } of threads) {
        if (target !== undefined) tell(yield* latest(`getTuple, ${threadId}${asleep}`, threadId, undefined))
      }
      yield* Cores.keepAwake
    }
    const suffix = canKeepAwake ? "" : asleep
    const times = new Map<string, number>()
    for (const { length, target, threadId } of threads) {
      const made = yield* latest(`getTuple, ${threadId}${suffix}`, threadId, target)
      times.set(threadId, made.cells[1]!.value)
      tell(length === 10_000 ? { ...made, goals: [...made.goals, flat(times)] } : made)
    }
    for (const [threadId, where] of [
      ["1 KB × 1,000", "one namespace"],
      ["1 KB × 1,000", "all namespaces"],
      ["16 KB × 1,000", "one namespace"],
      ["16 KB × 1,000", "all namespaces"]
    ] as const) {
      const namespace = where === "one namespace" ? "" : undefined
      tell(
        yield* row(`list(limit 10), ${threadId}, ${where}${suffix}`, undefined, [
          () => listWithStock(stock, threadId, namespace),
          () => list(ours, threadId, namespace),
          () => list(onSqlPg, threadId, namespace)
        ])
      )
    }
  }).pipe(Effect.scoped)

const flat = (times: ReadonlyMap<string, number>): Row.Goal => {
  const growth = times.get("1 KB × 10,000")! / times.get("1 KB × 10")!
  return { text: `≤ 1.1× the time at 10 (${growth.toFixed(2)}×)`, reached: 1.1 / growth }
}

/** What has been found, in a form for both: all that a reader gets, so that none of them leaves out any work. */
interface Found {
  readonly checkpoint: unknown
  readonly metadata: unknown
  readonly parentId: string | undefined
  readonly pendingWrites: ReadonlyArray<unknown>
}

type StockTuple = NonNullable<Awaited<ReturnType<PostgresSaver["getTuple"]>>>

const agree = (many: ReadonlyArray<unknown>): void => {
  const sorted = (_: string, value: unknown) =>
    typeof value === "object" && value !== null && !Array.isArray(value)
      ? Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)))
      : value
  const [first, ...others] = many.map((each) => JSON.stringify(each, sorted))
  if (others.some((each) => each !== first)) throw new Error("The variants differ in what they read")
}

const getWithStock = async (saver: PostgresSaver, threadId: string): Promise<Found> => {
  const found = await saver.getTuple({ configurable: { thread_id: threadId, checkpoint_ns: "" } })
  return foundByStock(found!)
}

const get = (ours: Checkpointer.Service, threadId: string): Promise<Found> =>
  Effect.runPromise(Effect.map(ours.get({ threadId }), (found) => foundByUs(Option.getOrThrow(found))))

const listWithStock = async (
  saver: PostgresSaver,
  threadId: string,
  namespace: string | undefined
): Promise<ReadonlyArray<Found>> => {
  const all: Array<Found> = []
  const configurable = { thread_id: threadId, ...(namespace === undefined ? {} : { checkpoint_ns: namespace }) }
  for await (const tuple of saver.list({ configurable }, { limit: 10 })) all.push(foundByStock(tuple))
  return all
}

const list = (
  ours: Checkpointer.Service,
  threadId: string,
  namespace: string | undefined
): Promise<ReadonlyArray<Found>> =>
  Effect.runPromise(
    Effect.map(Stream.runCollect(ours.list({ threadId, namespace, limit: 10 })), (all) =>
      Chunk.toReadonlyArray(all).map(foundByUs)
    )
  )

const foundByStock = (tuple: StockTuple): Found => ({
  checkpoint: tuple.checkpoint,
  metadata: tuple.metadata,
  parentId: tuple.parentConfig?.configurable?.checkpoint_id,
  pendingWrites: tuple.pendingWrites ?? []
})

const foundByUs = (tuple: Checkpoint.CheckpointTuple): Found => ({
  checkpoint: tuple.checkpoint,
  metadata: tuple.metadata,
  parentId: Option.getOrUndefined(tuple.parentId),
  pendingWrites: tuple.pendingWrites.map(({ channel, taskId, value }) => [taskId, channel, value])
})
