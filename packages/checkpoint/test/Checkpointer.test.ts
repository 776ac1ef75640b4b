import { Checkpoint, Checkpointer, Codec } from "@checkpool/checkpoint"
import { expect, it } from "@effect/vitest"
import { Effect, Exit, Layer, Option, Tracer } from "effect"
import { agreement } from "./agreement.ts"
import { suite } from "./laws.ts"

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

// A tracer that keeps the spans that were made.
const recorded = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.gen(function* () {
    const spans: Array<Tracer.Span> = []
    const native = yield* Effect.tracer
    const tracer = Tracer.make({
      ...native,
      span: (...parameters) => {
        const span = native.span(...parameters)
        spans.push(span)
        return span
      }
    })
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
