import { Checkpoint, CheckpointError, Checkpointer, Retention } from "@checkpool/checkpoint"
import { describe, expect, it } from "@effect/vitest"
import {
  Deferred,
  Duration,
  Effect,
  Exit,
  Layer,
  Logger,
  LogLevel,
  Metric,
  MetricState,
  Schedule,
  Scope,
  TestClock,
  Tracer
} from "effect"

const report: Retention.Report = {
  ended: "Complete",
  dryRun: false,
  duration: Duration.zero,
  threads: 0,
  pruned: 0,
  deleted: 0,
  failed: 0,
  checkpoints: 0,
  pendingWrites: 0,
  values: 0,
  bytes: 0,
  waiting: 0,
  failures: [],
  next: undefined
}

/** A checkpointer whose passes are what the test says, and what they were asked. */
const scripted = (pass: (n: number) => Effect.Effect<Retention.Report, Checkpointer.OperationError>) => {
  const asked: Array<Retention.RunOptions> = []
  const layer = Layer.effect(
    Checkpointer.Checkpointer,
    Effect.map(Checkpointer.makeMemory, (memory) => ({
      ...memory,
      retain: (options: Retention.RunOptions) => Effect.suspend(() => pass(asked.push(options)))
    }))
  )
  return { asked, layer }
}

const unwell = new CheckpointError.CheckpointerError({ operation: "retain", cause: new Error("unwell") })

describe("retention in the background", () => {
  it.scoped("makes a pass at once and then by its schedule, each going on where the last one was", () =>
    Effect.gen(function* () {
      const { asked, layer } = scripted((n) => Effect.succeed({ ...report, threads: n, next: `thread ${n}` }))
      const seen: Array<number> = []
      const onReport = ({ threads }: Retention.Report) => Effect.sync(() => void seen.push(threads))
      yield* Layer.build(
        Retention.layer({ policy: {}, schedule: Schedule.spaced("1 hour"), onReport }).pipe(Layer.provide(layer))
      )
      yield* Effect.yieldNow()
      expect(seen).toEqual([1])
      yield* TestClock.adjust("59 minutes")
      expect(seen).toEqual([1])
      yield* TestClock.adjust("2 hours")
      expect(seen).toEqual([1, 2, 3])
      expect(asked.map(({ from }) => from)).toEqual([undefined, "thread 1", "thread 2"])
      expect(asked[0]).toMatchObject({ every: "30 seconds", policy: {} })
    })
  )

  it.scoped("survives failures and defects, and waits longer from one to the next, until it is well again", () =>
    Effect.gen(function* () {
      const passes = [
        Effect.fail(unwell),
        Effect.die("a bug"),
        Effect.interrupt,
        Effect.succeed({ ...report, ended: "Saturated" as const }),
        Effect.succeed(report)
      ]
      const at: Array<number> = []
      const { layer } = scripted((n) =>
        Effect.zipRight(
          Effect.map(Effect.clock, (clock) => at.push(clock.unsafeCurrentTimeMillis())),
          passes[n - 1] ?? Effect.succeed(report)
        )
      )
      const onReport = () => (at.length === 5 ? Effect.die("a bug in the hook") : Effect.void)
      yield* Layer.build(
        Retention.layer({ policy: {}, schedule: Schedule.spaced("1 minute"), onReport }).pipe(Layer.provide(layer))
      ).pipe(Logger.withMinimumLogLevel(LogLevel.None))
      for (let second = 0; second < 320; second++) yield* TestClock.adjust("1 second")
      // After the failures 1, 2, 4 and 8 seconds more. The fifth is well, and the hook's failure the first one again.
      expect(at).toEqual([0, 61_000, 123_000, 187_000, 255_000, 316_000])
    })
  )

  it.effect("is over when its scope closes", () =>
    Effect.gen(function* () {
      const begun = yield* Deferred.make<void>()
      const { asked, layer } = scripted(() => Effect.zipRight(Deferred.succeed(begun, undefined), Effect.never))
      const scope = yield* Scope.make()
      yield* Layer.buildWithScope(Retention.layer({ policy: {} }).pipe(Layer.provide(layer)), scope)
      yield* Deferred.await(begun)
      yield* Scope.close(scope, Exit.void)
      yield* TestClock.adjust("1 hour")
      expect(asked).toHaveLength(1)
    })
  )

  it.scoped("has no spans of its own, not even under the span in which it was begun", () =>
    Effect.gen(function* () {
      const parents: Array<boolean> = []
      const { layer } = scripted(() =>
        Effect.zipRight(
          Effect.map(Effect.context<never>(), ({ unsafeMap }) => parents.push(unsafeMap.has(Tracer.ParentSpan.key))),
          Effect.succeed(report)
        )
      )
      yield* Layer.build(Retention.layer({ policy: {} }).pipe(Layer.provide(layer))).pipe(Effect.withSpan("start"))
      yield* Effect.yieldNow()
      expect(parents).toEqual([false])
    })
  )
})

describe("a pass of retention", () => {
  const counts = (name: string): Record<string, number> =>
    Object.fromEntries(
      Metric.unsafeSnapshot().flatMap(({ metricKey, metricState }) =>
        metricKey.name === `checkpoint.retention.${name}` && MetricState.isCounterState(metricState)
          ? [
              [
                metricKey.tags.flatMap(({ key, value }) => (key === "unit" ? [] : [value])).join(),
                Number(metricState.count)
              ]
            ]
          : []
      )
    )

  it.effect("is counted by what it did, and a dry run is not", () =>
    Effect.gen(function* () {
      const checkpointer = yield* Checkpointer.Checkpointer
      for (const [threadId, count] of [
        ["kept", 1],
        ["pruned", 3],
        ["deleted", 2]
      ] as const) {
        for (let i = 1; i <= count; i++) {
          const checkpoint = yield* Checkpoint.make({ channel_values: { a: "v" }, channel_versions: { a: i } })
          yield* checkpointer.put({ threadId, checkpoint, metadata: {}, newVersions: { a: i } })
        }
      }
      yield* checkpointer.setTtl("deleted", "1 hour")
      yield* TestClock.adjust("2 hours")
      const names = ["runs", "threads", "checkpoints", "bytes"]
      const before = names.map(counts)
      const options = { policy: { prune: {} }, grace: 0 } as const
      yield* Retention.run({ ...options, dryRun: true })
      expect(names.map(counts)).toEqual(before)
      yield* Retention.run(options)
      const grown = names
        .map(counts)
        .map((now, i) =>
          Object.fromEntries(Object.entries(now).map(([label, count]) => [label, count - (before[i]![label] ?? 0)]))
        )
      // Values of 3 bytes: two of the one and two of the other.
      expect(grown).toEqual([{ Complete: 1 }, { kept: 1, pruned: 1, deleted: 1 }, { "": 4 }, { "": 12 }])
    }).pipe(Effect.provide(Layer.fresh(Checkpointer.layerMemory)))
  )
})
