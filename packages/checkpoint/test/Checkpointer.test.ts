import { Checkpoint, Checkpointer, Codec } from "@checkpool/checkpoint"
import { expect, it } from "@effect/vitest"
import { Effect, Either, Exit, Layer, Option } from "effect"
import { agreement } from "./agreement.ts"
import { suite } from "./laws.ts"
import { recorder } from "./spans.ts"

suite("Checkpointer in memory", Checkpointer.layerMemory)

agreement("two checkpointers in memory", Checkpointer.layerMemory, { numRuns: 20 })

const operations = Effect.gen(function* () {
  const checkpointer = yield* Checkpointer.Checkpointer
  const checkpoint = yield* Checkpoint.make({ channel_values: { a: "12345", b: 1 }, channel_versions: { a: 1, b: 1 } })
  const key = yield* checkpointer.put({
    threadId: "t",
    namespace: "n",
    checkpoint,
    metadata: {},
    newVersions: { a: 1 }
  })
  yield* checkpointer.putWrites({ ...key, taskId: "task", writes: [{ channel: "a", value: 1 }] })
  yield* checkpointer.get({ threadId: "t", namespace: "n" })
  yield* Effect.flip(checkpointer.get({ threadId: "" }))
  return key.checkpointId
}).pipe(Effect.provide(Checkpointer.layerMemory))

// And the spans that were made.
const recorded = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.gen(function* () {
    const { spans, tracer } = yield* recorder
    return [yield* Effect.withTracer(effect, tracer), spans] as const
  })

it.effect("spans tell thread, namespace, id and sizes, and how it went", () =>
  Effect.gen(function* () {
    const [id, spans] = yield* recorded(Effect.withSpan(operations, "parent"))
    const seen = spans.map(({ attributes, name, parent, status }) => ({
      name,
      parent: Option.getOrUndefined(parent)?.spanId === spans[0]!.spanId,
      attributes: Object.fromEntries(attributes),
      ok: status._tag === "Ended" && Exit.isSuccess(status.exit)
    }))
    const place = { "checkpoint.thread_id": "t", "checkpoint.namespace": "n" }
    const sizes = (values: number, bytes: number) => ({ "checkpoint.values": values, "checkpoint.bytes": bytes })
    expect(seen.slice(1)).toEqual([
      {
        name: "Checkpointer.put",
        parent: true,
        attributes: { ...place, "checkpoint.id": id, ...sizes(1, 7) },
        ok: true
      },
      {
        name: "Checkpointer.putWrites",
        parent: true,
        attributes: { ...place, "checkpoint.id": id, ...sizes(1, 1) },
        ok: true
      },
      // The value and the write.
      { name: "Checkpointer.get", parent: true, attributes: { ...place, ...sizes(2, 8) }, ok: true },
      {
        name: "Checkpointer.get",
        parent: true,
        attributes: { "checkpoint.thread_id": "", "checkpoint.namespace": "" },
        ok: false
      }
    ])
  })
)

it.effect("there are no spans without a parent span", () =>
  Effect.gen(function* () {
    const [, spans] = yield* recorded(operations)
    expect(spans).toEqual([])
  })
)

it.effect("each layer in memory has checkpoints of its own", () =>
  Effect.gen(function* () {
    const latest = Effect.flatMap(Checkpointer.Checkpointer, (_) => _.get({ threadId: "t", namespace: "n" }))
    yield* operations
    expect(yield* Effect.provide(latest, Checkpointer.layerMemory)).toEqual(Option.none())
  })
)

it.effect("what is too large for a message to the server is refused before it is sent", () =>
  Effect.gen(function* () {
    // Of that size as far as anybody asks.
    const huge = (size: number): Codec.Service => ({
      ...Codec.json,
      encode: (value, at) =>
        Effect.map(Codec.json.encode(value, at), ({ data, type }) => ({
          type,
          data: value === "huge" ? Object.defineProperty(Uint8Array.from(data), "byteLength", { value: size }) : data
        }))
    })
    const put = (size: number, values: Record<string, unknown>) =>
      Effect.flatMap(Checkpointer.Checkpointer, (checkpointer) => {
        const newVersions = Object.fromEntries(Object.keys(values).map((channel) => [channel, 1]))
        const checkpoint = {
          v: 4,
          id: "1",
          ts: "",
          channel_values: values,
          channel_versions: newVersions,
          versions_seen: {}
        }
        const written = { taskId: "t", writes: Object.entries(values).map(([channel, value]) => ({ channel, value })) }
        return Effect.all({
          put: Effect.either(Effect.asVoid(checkpointer.put({ threadId: "t", checkpoint, metadata: {}, newVersions }))),
          putWrites: Effect.either(checkpointer.putWrites({ threadId: "t", checkpointId: "1", ...written })),
          commit: Effect.either(
            Effect.asVoid(
              checkpointer.commit({
                threadId: "t",
                checkpoint,
                metadata: {},
                newVersions: {},
                writes: [written, written]
              })
            )
          )
        })
      }).pipe(
        Effect.provide(Layer.fresh(Checkpointer.layerMemory)),
        Effect.provideService(Codec.Codec, huge(size)),
        Effect.map((answers) =>
          Object.values(answers)
            .filter(Either.isLeft)
            .map(({ left }) => left)
        )
      )
    expect(yield* put(1_000_000_000, { a: 1 })).toEqual([])
    expect(
      (yield* put(2 ** 30, { a: 1, b: "huge" })).map((error) => error._tag === "SerializationError" && error.channel)
    ).toEqual(["b", "b", "b"])
    // Together in one statement.
    expect(yield* put(600_000_000, { a: "huge" })).toMatchObject([{ channel: "a" }])
    expect(yield* put(600_000_000, { a: "huge", b: "huge" })).toHaveLength(3)
  })
)

// Adds one to each byte, so that nothing of it is readable by accident.
const shifting: Codec.Service = {
  encode: (value, at) =>
    Effect.map(Codec.json.encode(value, at), ({ data, type }) =>
      at.part === "channel" && at.channel !== ""
        ? { type: `shifted-${type}`, data: data.map((byte) => byte + 1) }
        : { type, data }
    ),
  decode: ({ data, type }, at) =>
    type.startsWith("shifted-")
      ? Codec.json.decode({ type: type.slice(8), data: data.map((byte) => byte - 1) }, at)
      : Codec.json.decode({ type, data }, at)
}

suite(
  "Checkpointer in memory with a codec of the application's own",
  Checkpointer.layerMemory.pipe(Layer.provide(Layer.succeed(Codec.Codec, shifting)))
)
