import { Checkpointer, CheckpointMetrics, Codec } from "@checkpool/checkpoint"
import { SqlError } from "@effect/sql/SqlError"
import { describe, expect, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Layer, Metric, MetricState, Scope, Stream, TestClock } from "effect"
import * as GroupCommit from "../src/internal/groupCommit.ts"
import * as Batch from "../src/internal/lanes/batch.ts"
import * as Operation from "../src/internal/operation.ts"
import type { Statements } from "../src/internal/statements.ts"

/** What an exporter sees: the states of a metric by the values of its labels but for the unit. */
const exported = (name: string): Record<string, MetricState.MetricState.Untyped> =>
  Object.fromEntries(
    Metric.unsafeSnapshot()
      .filter(({ metricKey }) => metricKey.name === name)
      .map(({ metricKey, metricState }) => [
        metricKey.tags.flatMap(({ key, value }) => (key === "unit" ? [] : [value])).join(" "),
        metricState
      ])
  )

const numbers = (name: string): Record<string, number> =>
  Object.fromEntries(
    Object.entries(exported(name)).map(([labels, state]) => [
      labels,
      MetricState.isCounterState(state)
        ? Number(state.count)
        : MetricState.isGaugeState(state)
          ? Number(state.value)
          : Number.NaN
    ])
  )

const histogram = (name: string, labels: string) => {
  const state = exported(name)[labels]
  return state !== undefined && MetricState.isHistogramState(state) ? [state.count, state.sum] : [0, 0]
}

/** How much a counter has grown, by labels; without those that have not. */
const growth = (name: string, before: Record<string, number>): Record<string, number> =>
  Object.fromEntries(
    Object.entries(numbers(name))
      .map(([labels, count]) => [labels, count - (before[labels] ?? 0)] as const)
      .filter(([, count]) => count !== 0)
  )

it("the metrics have units in the words of OpenTelemetry, one and the same wherever they are written", () => {
  for (const metric of Object.values(CheckpointMetrics)) if (typeof metric !== "string") metric.unsafeValue([])
  const series = Metric.unsafeSnapshot().flatMap(({ metricKey: { name, tags } }) =>
    name.startsWith("checkpoint.") ? [`${name} ${tags.find(({ key }) => key === "unit")?.value}`] : []
  )
  expect([...new Set(series)].sort()).toEqual([
    "checkpoint.batch.in_flight {statement}",
    "checkpoint.batch.retries {operation}",
    "checkpoint.batch.size {operation}",
    "checkpoint.operation.bytes By",
    "checkpoint.operation.duration s",
    "checkpoint.operation.errors {operation}",
    "checkpoint.queue.bytes By",
    "checkpoint.queue.length {operation}",
    "checkpoint.queue.oldest s",
    "checkpoint.retention.bytes By",
    "checkpoint.retention.checkpoints {checkpoint}",
    "checkpoint.retention.runs {run}",
    "checkpoint.retention.threads {thread}"
  ])
})

describe("the metrics of operations", () => {
  const tag = { threadId: "t", checkpointId: "1", taskId: "task" }
  const checkpoint = {
    v: 4,
    id: "1",
    ts: "",
    channel_values: { a: 123 },
    channel_versions: { a: 1 },
    versions_seen: {}
  }

  it.effect("tell of each operation how long it took, and how much was moved", () =>
    Effect.gen(function* () {
      const slow: Codec.Service = {
        ...Codec.json,
        encode: (value, at) => Effect.zipRight(Effect.sleep(250), Codec.json.encode(value, at))
      }
      const names = ["put", "putWrites", "commit", "get", "list", "deltaHistory", "deleteThread"]
      const [bytes, times] = [
        numbers("checkpoint.operation.bytes"),
        names.map((name) => histogram("checkpoint.operation.duration", name))
      ]
      const run = yield* Effect.gen(function* () {
        const checkpointer = yield* Checkpointer.Checkpointer
        const put = { threadId: "t", checkpoint, metadata: {}, newVersions: { a: 1 } }
        yield* checkpointer.put(put)
        yield* checkpointer.putWrites({ ...tag, writes: [{ channel: "a", value: "12" }] })
        yield* checkpointer.commit({ ...put, writes: [{ taskId: "u", writes: [{ channel: "a", value: 1 }] }] })
        yield* checkpointer.get({ threadId: "t" })
        yield* Stream.runDrain(checkpointer.list({ threadId: "t" }))
        yield* checkpointer.deltaHistory({ threadId: "t", channels: ["a"] })
        yield* checkpointer.deleteThread("t")
      }).pipe(
        Effect.provide(Layer.fresh(Checkpointer.layerMemory).pipe(Layer.provide(Layer.succeed(Codec.Codec, slow)))),
        Effect.fork
      )
      yield* TestClock.adjust("10 seconds")
      yield* Fiber.join(run)
      expect(growth("checkpoint.operation.bytes", bytes)).toEqual({ put: 3, putWrites: 4, commit: 4, get: 8, list: 8 })
      const grown = names.map((name, i) =>
        histogram("checkpoint.operation.duration", name).map((now, j) => now - times[i]![j]!)
      )
      // A value and the metadata are encoded; to read takes no time on this clock.
      expect(grown).toEqual([
        [1, 0.5],
        [1, 0.25],
        [1, 0.75],
        [1, 0],
        [1, 0],
        [1, 0],
        [1, 0]
      ])
    })
  )

  it.effect("count failures by their type, and neither interrupts nor what succeeds", () =>
    Effect.gen(function* () {
      const [errors, times] = [
        numbers("checkpoint.operation.errors"),
        histogram("checkpoint.operation.duration", "put")
      ]
      const never: Codec.Service = {
        ...Codec.json,
        encode: (value, at) =>
          at.channel === "defect"
            ? Effect.die("defect")
            : at.channel === "hang"
              ? Effect.never
              : Codec.json.encode(value, at)
      }
      yield* Effect.gen(function* () {
        const { get, put } = yield* Checkpointer.Checkpointer
        const of = (channel_values: Record<string, unknown>) =>
          put({
            threadId: "t",
            metadata: {},
            newVersions: Object.fromEntries(Object.keys(channel_values).map((channel) => [channel, 1])),
            checkpoint: { ...checkpoint, channel_values }
          })
        yield* Effect.exit(of({ a: 1n }))
        yield* Effect.exit(of({ "a\0": 1 }))
        yield* Effect.exit(of({ defect: 1 }))
        yield* Effect.exit(get({ threadId: "" }))
        const hanging = yield* Effect.fork(of({ hang: 1 }))
        yield* Effect.yieldNow()
        yield* Fiber.interrupt(hanging)
        yield* of({ a: 1 })
      }).pipe(
        Effect.provide(Layer.fresh(Checkpointer.layerMemory).pipe(Layer.provide(Layer.succeed(Codec.Codec, never))))
      )
      expect(growth("checkpoint.operation.errors", errors)).toEqual({
        "put SerializationError": 1,
        "put InvalidIdentifier": 1,
        "put defect": 1,
        "get InvalidIdentifier": 1
      })
      expect(histogram("checkpoint.operation.duration", "put")[0]! - times[0]!).toBe(1)
    })
  )

  it.effect("carry the labels of their caller", () =>
    Effect.gen(function* () {
      const { get } = yield* Checkpointer.Checkpointer
      yield* Effect.tagMetrics(get({ threadId: "t" }), "tenant", "acme")
      yield* Effect.tagMetrics(get({ threadId: "t" }), "tenant", "umbrella")
      expect(histogram("checkpoint.operation.duration", "acme get")[0]).toBe(1)
      expect(histogram("checkpoint.operation.duration", "umbrella get")[0]).toBe(1)
    }).pipe(Effect.provide(Layer.fresh(Checkpointer.layerMemory)))
  )
})

describe("the metrics of group commit", () => {
  const options = {
    maxInFlight: 1,
    maxBatch: 16,
    maxBatchBytes: 1_000_000,
    maxQueued: 100,
    maxQueuedBytes: 1_000_000,
    timeout: "10 seconds",
    grace: 0
  } as const

  const rows = (threadId: string) => ({
    checkpoint: { threadId, namespace: "", checkpointId: "1", parentId: null, checkpoint: "{}", metadata: "{}" },
    blobs: []
  })

  /** Statements that end when the test says so. */
  const make = Effect.gen(function* () {
    const sent: Array<Deferred.Deferred<void, SqlError>> = []
    const send = Effect.flatMap(Deferred.make<void, SqlError>(), (end) => {
      sent.push(end)
      return Deferred.await(end)
    })
    const statements: Statements = {
      put: () => send,
      putWrites: () => send,
      deleteThread: () => send,
      batch: () => send
    }
    const { write } = yield* GroupCommit.make(statements, options)
    const end = (n: number, exit: Exit.Exit<void, SqlError> = Exit.void) =>
      Effect.gen(function* () {
        while (sent.length <= n) yield* Effect.yieldNow()
        yield* Deferred.done(sent[n]!, exit)
      })
    return { put: (thread: string) => Effect.fork(write(Batch.put(rows(thread)))), end, sent }
  })

  const gauges = () =>
    ["checkpoint.queue.length", "checkpoint.queue.oldest", "checkpoint.batch.in_flight"].map(
      (name) => numbers(name)[""]
    )

  it.effect("show the queue as it is when they are read, over all that are open, until they are closed", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const [one, two] = [yield* Scope.extend(make, scope), yield* Scope.extend(make, scope)]
      expect(gauges()).toEqual([0, 0, 0])
      yield* one.put("a")
      while (one.sent.length < 1) yield* Effect.yieldNow()
      expect(gauges()).toEqual([0, 0, 1])
      yield* one.put("b")
      yield* TestClock.adjust("2 seconds")
      yield* one.put("c")
      yield* two.put("a")
      yield* TestClock.adjust("1 seconds")
      expect(gauges()).toEqual([2, 3, 2])
      expect(numbers("checkpoint.queue.bytes")[""]).toBe(2 * (256 + 4))
      yield* one.end(0)
      while (one.sent.length < 2) yield* Effect.yieldNow()
      expect(gauges()).toEqual([0, 0, 2])
      yield* one.put("d")
      yield* TestClock.adjust("1 seconds")
      expect(gauges()).toEqual([1, 1, 2])
      yield* Scope.close(scope, Exit.void)
      expect(gauges()).toEqual([0, 0, 0])
    })
  )

  it.scoped("tell how much went together, and what was tried again and why", () =>
    Effect.gen(function* () {
      const { end, put } = yield* make
      const [sizes, retries] = [histogram("checkpoint.batch.size", ""), numbers("checkpoint.batch.retries")]
      const failure = (code: string) =>
        Exit.fail(new SqlError({ cause: Object.assign(new Error("by the server"), { code }) }))
      const callers = [yield* put("a"), yield* put("b"), yield* put("c")]
      yield* end(0, failure("53300"))
      yield* TestClock.adjust("1 seconds")
      yield* end(1, failure("23514"))
      yield* end(2)
      yield* end(3, failure("40P01"))
      for (const n of [4, 5]) yield* end(n)
      yield* Effect.forEach(callers, Fiber.join)
      expect(growth("checkpoint.batch.retries", retries)).toEqual({ saturated: 3, refused: 3, conflict: 1 })
      // Three together twice, then each alone, one of them twice.
      expect(histogram("checkpoint.batch.size", "").map((now, i) => now - sizes[i]!)).toEqual([6, 10])
    })
  )

  it.effect("count what a database did not do by the kind of its trouble", () =>
    Effect.gen(function* () {
      const errors = numbers("checkpoint.operation.errors")
      const gone = new SqlError({ cause: Object.assign(new Error("gone"), { code: "3D000" }) })
      yield* Effect.exit(
        Operation.run(
          "get",
          () => ({}),
          () => GroupCommit.failingAs("get", gone)
        )
      )
      expect(growth("checkpoint.operation.errors", errors)).toEqual({ "get CheckpointerError fatal": 1 })
    })
  )
})
