import { Checkpointer } from "@checkpool/checkpoint"
import { describe, expect, layer as sharedLayer } from "@effect/vitest"
import { Effect, Either, FastCheck as fc, Layer } from "effect"

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

const operation = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant("put" as const),
      place,
      id: checkpointId,
      parentId: fc.option(checkpointId, { nil: undefined }),
      values: fc.dictionary(channel, value, { maxKeys: 4 }),
      versions,
      // As a graph does it, or anything.
      newVersions: fc.option(versions, { nil: undefined }),
      metadata: fc.dictionary(fc.string(), value, { maxKeys: 3 })
    })
  },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant("putWrites" as const),
      place,
      checkpointId,
      taskId: small("x", "Y"),
      taskPath: small(undefined, "p", "Q"),
      writes: fc.array(fc.record({ channel: fc.oneof(channel, small("__resume__", "__error__")), value }), {
        maxLength: 4
      })
    })
  },
  {
    weight: 2,
    arbitrary: fc.record({ kind: fc.constant("get" as const), place, id: fc.option(checkpointId, { nil: undefined }) })
  }
)
type Operation = typeof operation extends fc.Arbitrary<infer A> ? A : never

const run = (prefix: string, operation: Operation) =>
  Effect.flatMap(Checkpointer.Checkpointer, (checkpointer): Effect.Effect<unknown, Checkpointer.OperationError> => {
    const place = { threadId: `${prefix}-${operation.place.thread}`, namespace: operation.place.namespace }
    switch (operation.kind) {
      case "put": {
        const { id, metadata, newVersions, parentId, values, versions } = operation
        return checkpointer.put({
          ...place,
          checkpoint: { v: 4, id, ts: "now", channel_values: values, channel_versions: versions, versions_seen: {} },
          metadata,
          parentId,
          newVersions: newVersions ?? versions
        })
      }
      case "putWrites":
        return checkpointer.putWrites({ ...place, ...operation })
      case "get":
        return checkpointer.get({ ...place, checkpointId: operation.id })
    }
  })

const everything: ReadonlyArray<Operation> = ["1", "2"].flatMap((thread) =>
  ["", "inner"].flatMap((namespace) =>
    [undefined, "1", "2", "10", "B", "a", "é", "\uFFFD", "\u{1F388}"].map(
      (id): Operation => ({ kind: "get", place: { thread, namespace }, id })
    )
  )
)

/** Whatever is done to it, the layer answers as the one in memory does. */
export const agreement = <E>(
  name: string,
  layer: Layer.Layer<Checkpointer.Checkpointer, E>,
  options: { readonly memoMap?: Layer.MemoMap; readonly numRuns?: number } = {}
) =>
  describe(name, () => {
    const { memoMap, numRuns = 60 } = options
    sharedLayer(layer, { timeout: "60 seconds", ...(memoMap && { memoMap }) })((it) => {
      let runs = 0
      it.effect.prop(
        "gives the answers of the memory layer to any sequence of operations",
        { operations: fc.array(operation, { minLength: 1, maxLength: 30 }) },
        ({ operations }) =>
          Effect.gen(function* () {
            const prefix = `${yield* Effect.sync(() => performance.now())}-${runs++}`
            const answers = Effect.forEach([...operations, ...everything], (operation) =>
              Effect.either(run(prefix, operation))
            )
            const actual = yield* answers
            const expected = yield* Effect.provide(answers, Layer.fresh(Checkpointer.layerMemory))
            expect(actual.map(plain)).toStrictEqual(expected.map(plain))
          }),
        { fastCheck: { numRuns }, timeout: 60_000 }
      )
    })
  })

// Errors with all of their fields, and not only their messages.
const plain = (answer: Either.Either<unknown, Checkpointer.OperationError>) =>
  Either.mapLeft(answer, (error) => ({ ...error, cause: undefined, message: error.message }))
