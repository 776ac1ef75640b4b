import { type CheckpointError, Checkpointer } from "@checkpool/checkpoint"
import { afterAll, describe, expect, layer as sharedLayer } from "@effect/vitest"
import { Clock, Effect, Either, FastCheck as fc, Layer, Stream } from "effect"

const small = <A>(...values: ReadonlyArray<A>) => fc.constantFrom(...values)

const value = fc.oneof(
  { weight: 5, arbitrary: fc.jsonValue({ stringUnit: "binary" } as fc.JsonSharedConstraints) },
  {
    weight: 2,
    arbitrary: fc.anything({ withMap: true, withSet: true, withTypedArray: true, withSparseArray: true, maxDepth: 3 })
  },
  {
    weight: 1,
    arbitrary: small<unknown>(undefined, -0, Infinity, "\0", "\uD800", Uint8Array.of(1, 2), [undefined], 1n)
  }
)

const channel = small("a", "b", "c", "é", "__proto__", "")
const version = fc.oneof(small<number | string>(1, 2, 3, "1", "00002.5"), fc.double({ noNaN: true }))
const place = fc.record({ thread: small("1", "2"), namespace: small(undefined, "", "inner") })
const checkpointId = small("1", "2", "10", "B", "a", "é", "\uFFFD", "\u{1F388}")
const versions = fc.dictionary(channel, version, { maxKeys: 4 })
const writes = fc.array(
  fc.record({ channel: fc.oneof(channel, small("__resume__", "__error__", "__pregel_tasks")), value }),
  { maxLength: 4 }
)
const task = { taskId: small("x", "Y"), taskPath: small(undefined, "p", "Q"), writes }

// A metadata of few words, so that filters find something.
const words = fc.dictionary(
  small("k", "\0", "\uFFFD", "__checkpool_exact"),
  fc.oneof(
    small<unknown>("\0", "\uFFFD", "\uD800", -0, 0, 1, null, Infinity),
    fc.array(small<unknown>("\0", "\uFFFD", 1, [1], { k: 1 }), { maxLength: 3 }),
    fc.dictionary(small("k", "\uD800", "\uFFFD"), small<unknown>(1, "\0", "\uFFFD"), { maxKeys: 2 })
  ),
  { maxKeys: 3 }
)
const runId = small("r1", "\uFFFD")
const maybe = <A>(arbitrary: fc.Arbitrary<A>) => fc.option(arbitrary, { nil: undefined })

const operation = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      kind: small("put" as const, "put" as const, "commit" as const),
      tasks: fc.array(fc.record({ checkpointId: maybe(checkpointId), ...task }), { maxLength: 3 }),
      place,
      v: small(4, 4, 4, 3, 1),
      ts: small("now", "1969-01-02T03:04:05.678Z"),
      id: checkpointId,
      parentId: maybe(checkpointId),
      expectHead: fc.option(fc.option(checkpointId, { nil: null }), { nil: undefined, freq: 2 }),
      values: fc.dictionary(channel, value, { maxKeys: 4 }),
      versions,
      // As a graph does it, or anything.
      newVersions: maybe(versions),
      metadata: fc.oneof(
        words,
        fc.dictionary(fc.string(), value, { maxKeys: 3 }),
        fc.record({
          run_id: fc.oneof(runId, small<unknown>(1, ["r1"], undefined)),
          k: maybe(small<unknown>("\0", 1)),
          counters_since_delta_snapshot: maybe(
            fc.oneof(fc.dictionary(channel, fc.constant([1, 1]), { maxKeys: 2 }), small<unknown>(null, ["a"]))
          )
        })
      )
    })
  },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant("putWrites" as const),
      place,
      checkpointId,
      ...task
    })
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("deleteThread" as const), place }) },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant("copyThread" as const), place, target: small("1", "2", "3") })
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant("forkAt" as const),
      place,
      checkpointId,
      id: checkpointId,
      metadata: maybe(words)
    })
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant("deleteForRuns" as const),
      place,
      runIds: fc.array(runId, { maxLength: 2 })
    })
  },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: small("prune" as const, "prunePlan" as const),
      place,
      keepLast: maybe(small(1, 2)),
      olderThan: maybe(fc.constant(1)),
      deltaChannels: maybe(fc.array(channel, { maxLength: 2 })),
      grace: maybe(fc.constant(0)),
      batchSize: maybe(small(1, 2))
    })
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant("threads" as const),
      place,
      filter: maybe(words),
      limit: maybe(small(0, 1, 2)),
      pageSize: maybe(small(1, 2))
    })
  },
  {
    weight: 2,
    arbitrary: fc.record({ kind: fc.constant("get" as const), place, id: maybe(checkpointId) })
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant("deltaHistory" as const),
      place,
      id: maybe(checkpointId),
      channels: fc.array(channel, { maxLength: 4 })
    })
  },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant("list" as const),
      place,
      options: fc.record({
        id: maybe(checkpointId),
        filter: maybe(fc.oneof(words, fc.dictionary(fc.string(), value, { maxKeys: 1 }))),
        before: maybe(checkpointId),
        limit: maybe(fc.integer({ min: -1, max: 9 })),
        pageSize: maybe(fc.integer({ min: 1, max: 9 })),
        values: maybe(fc.boolean()),
        writes: maybe(fc.boolean())
      })
    })
  }
)
type Operation = typeof operation extends fc.Arbitrary<infer A> ? A : never

type Failure = Checkpointer.OperationError | CheckpointError.ThreadExists

// What was listed up to an error, and the error.
const collect = (stream: Stream.Stream<unknown, Checkpointer.OperationError>) =>
  Effect.map(Stream.runCollect(Stream.either(stream)), (all) => Array.from(all, plain))

// A fork tells when it was made.
const stopped = Object.assign(Clock.make(), { currentTimeMillis: Effect.succeed(0), unsafeCurrentTimeMillis: () => 0 })

const run = (prefix: string, operation: Operation) =>
  Effect.flatMap(Checkpointer.Checkpointer, (checkpointer): Effect.Effect<unknown, Failure> => {
    const place = { threadId: `${prefix}-${operation.place.thread}`, namespace: operation.place.namespace }
    switch (operation.kind) {
      case "put":
      case "commit": {
        const { expectHead, id, kind, metadata, newVersions, parentId, tasks, ts, v, values, versions } = operation
        return checkpointer[kind]({
          ...place,
          writes: tasks,
          checkpoint: { v, id, ts, channel_values: values, channel_versions: versions, versions_seen: {} },
          metadata,
          parentId,
          expectHead,
          newVersions: newVersions ?? versions
        })
      }
      case "putWrites":
        return checkpointer.putWrites({ ...place, ...operation })
      case "deleteThread":
        return checkpointer.deleteThread(place.threadId)
      case "copyThread":
        return checkpointer.copyThread(place.threadId, `${prefix}-${operation.target}`)
      case "forkAt":
        return Effect.withClock(checkpointer.forkAt({ ...operation, ...place }), stopped)
      case "deleteForRuns":
        return checkpointer.deleteForRuns(operation.runIds)
      case "prune":
      case "prunePlan":
        return Effect.withClock(checkpointer[operation.kind]({ ...operation, ...place }), stopped)
      case "threads":
        return collect(checkpointer.threads({ ...operation, after: prefix, before: `${prefix}-9` }))
      case "get":
        return checkpointer.get({ ...place, checkpointId: operation.id })
      case "deltaHistory":
        return checkpointer.deltaHistory({ ...place, checkpointId: operation.id, channels: operation.channels })
      case "list":
        return collect(checkpointer.list({ ...place, checkpointId: operation.options.id, ...operation.options }))
    }
  })

const all = {
  id: undefined,
  filter: undefined,
  before: undefined,
  limit: undefined,
  pageSize: undefined,
  values: undefined,
  writes: undefined
}

const everything: ReadonlyArray<Operation> = ["1", "2", "3"].flatMap((thread) => [
  {
    kind: "threads",
    place: { thread, namespace: undefined },
    filter: undefined,
    limit: undefined,
    pageSize: undefined
  } satisfies Operation,
  { kind: "list", place: { thread, namespace: undefined }, options: all } satisfies Operation,
  ...["", "inner"].flatMap((namespace) =>
    [undefined, "1", "2", "10", "B", "a", "é", "\uFFFD", "\u{1F388}"].flatMap(
      (id): ReadonlyArray<Operation> => [
        { kind: "get", place: { thread, namespace }, id },
        { kind: "deltaHistory", place: { thread, namespace }, id, channels: ["a", "b", "é", "__proto__", ""] }
      ]
    )
  )
])

/** Writes that follow each other together, all else on its own. */
const inBursts = (operations: ReadonlyArray<Operation>): ReadonlyArray<ReadonlyArray<Operation>> => {
  const bursts: Array<Array<Operation>> = []
  const isWrite = (operation: Operation | undefined) =>
    ["put", "commit", "putWrites", "deleteThread", "forkAt"].includes(operation?.kind ?? "")
  for (const operation of operations) {
    const last = bursts.at(-1)
    if (last !== undefined && isWrite(last[0]) && isWrite(operation)) last.push(operation)
    else bursts.push([operation])
  }
  return bursts
}

/**
 * Whatever is done to it, the layer answers as the one in memory does.
 *
 * Each run draws other operations and says its seed; `AGREEMENT_SEED=17` draws the same again, and `AGREEMENT_RUNS=1000`
 * as many as you like.
 */
export const agreement = <E>(
  name: string,
  layer: Layer.Layer<Checkpointer.Checkpointer, E>,
  options: {
    readonly memoMap?: Layer.MemoMap
    readonly numRuns?: number
    /** Asks for writes that follow each other at the same time. */
    readonly bursts?: boolean
  } = {}
) =>
  describe(name, () => {
    const { bursts = false, memoMap } = options
    const numRuns = Number(process.env.AGREEMENT_RUNS ?? options.numRuns ?? 60)
    const seed = Number(process.env.AGREEMENT_SEED ?? Math.floor(performance.now() * 1000) % 1_000_000)
    afterAll(() => console.log(`${name}: ${runs} sequences of operations, AGREEMENT_SEED=${seed}`))
    let runs = 0
    sharedLayer(layer, { timeout: "60 seconds", ...(memoMap && { memoMap }) })((it) => {
      it.effect.prop(
        "gives the answers of the memory layer to any sequence of operations",
        { operations: fc.array(operation, { minLength: 1, maxLength: 30 }) },
        ({ operations }) =>
          Effect.gen(function* () {
            const prefix = `${yield* Effect.sync(() => performance.now())}-${runs++}`
            const all = [...operations, ...everything]
            const answer = (operation: Operation) => Effect.either(run(prefix, operation))
            const actual = yield* bursts
              ? Effect.map(
                  Effect.forEach(inBursts(all), (chunk) => Effect.forEach(chunk, answer, { concurrency: "unbounded" })),
                  (answers) => answers.flat()
                )
              : Effect.forEach(all, answer)
            const expected = yield* Effect.provide(Effect.forEach(all, answer), Layer.fresh(Checkpointer.layerMemory))
            expect(actual.map(plain)).toStrictEqual(expected.map(plain))
          }),
        { fastCheck: { numRuns, seed }, timeout: 60_000 + numRuns * 1000 }
      )
    })
  })

// Errors with all of their fields, and not only their messages.
const plain = (answer: Either.Either<unknown, Failure>) =>
  Either.mapLeft(answer, (error) => ({ ...error, cause: undefined, message: error.message }))
