/**
 * How the values of a LangGraph state become bytes and come back: the default codec of `@checkpool/checkpoint`, and in
 * addition the objects of LangChain and LangGraph, and more of JavaScript's own. It loses nothing silently: a value comes
 * back as it was, or it is refused with its channel and path.
 *
 * | value | as |
 * | --- | --- |
 * | messages and all that LangChain can serialize | LangChain's records `{ lc: 1, … }`, with dates, maps and the like in them kept |
 * | `Document` | the same |
 * | `Send`, `Command`, `Overwrite` | plain data, by which LangGraph knows them again |
 * | `DeltaSnapshot` | LangGraph's record |
 * | `BigInt`, `NaN`, `Date`, `URL`, `Error` and its standard kinds | records that the stock serializer gives as inert data |
 * | what the default codec keeps | as there |
 * | instances of other classes, functions, symbols, cycles | refused |
 *
 * The stock serializer reads what is written here, and what it wrote is read here.
 *
 * @since 0.1.0
 */
import { SerializationError } from "@checkpool/checkpoint/CheckpointError"
import * as Codec from "@checkpool/checkpoint/Codec"
import type { SerializerProtocol } from "@langchain/langgraph-checkpoint"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Plain from "./internal/plain.ts"
import * as Revival from "./internal/revival.ts"

/**
 * The codec of a saver that is given no serializer.
 *
 * @since 0.1.0
 * @category constructors
 */
export const langGraph: Codec.Service = {
  encode: (value, at) =>
    Effect.suspend(() => {
      const made = makePlain(value, at)
      if (made instanceof SerializationError) return made
      const encoded = Codec.json.encode(made.plain, at)
      return made.records.length === 0 ? encoded : Effect.zipLeft(encoded, verifyAll(made.records, at))
    }),
  decode: (encoded, at) => {
    const decoded = Codec.json.decode(encoded, at)
    if (encoded.type !== "json" || !Exit.isExit(decoded) || !Exit.isSuccess(decoded)) return decoded
    const { data } = encoded
    if (!Buffer.from(data.buffer, data.byteOffset, data.byteLength).includes('"lc"')) return decoded
    const revived = Revival.revive(decoded.value)
    return revived instanceof Promise ? settled(() => revived, "decode", at) : Effect.succeed(revived)
  }
}

/**
 * A codec that leaves everything to a serializer of LangGraph's, such as `new JsonPlusSerializer()` or one that
 * encrypts. What lies in JSONB columns (metadata, values without a version) is left to it if it writes JSON, and to
 * {@link langGraph} if it does not.
 *
 * @since 0.1.0
 * @category constructors
 */
export const fromSerializer = (serde: SerializerProtocol): Codec.Service => {
  const dump = (value: unknown, at: Codec.Location) =>
    Effect.map(
      settled(() => serde.dumpsTyped(value), "encode", at),
      ([type, data]): Codec.Encoded => ({ type, data: Uint8Array.from(data) })
    )
  let json: boolean | undefined
  const writesJson = Effect.suspend(() =>
    json === undefined
      ? Effect.map(dump({}, { part: "metadata", channel: "" }), ({ type }) => {
          json = type === "json"
          return json
        })
      : Effect.succeed(json)
  )
  const own = (at: Codec.Location) => (at.channel === "" ? writesJson : Effect.succeed(true))
  return {
    encode: (value, at) => Effect.flatMap(own(at), (yes) => (yes ? dump(value, at) : langGraph.encode(value, at))),
    decode: (encoded, at) =>
      Effect.flatMap(own(at), (yes) =>
        yes ? settled(() => serde.loadsTyped(encoded.type, encoded.data), "decode", at) : langGraph.decode(encoded, at)
      )
  }
}

/**
 * The other way round: what a saver shows as its `serde`.
 *
 * @since 0.1.0
 * @category conversions
 */
export const toSerializer = (codec: Codec.Service): SerializerProtocol => ({
  dumpsTyped: async (value) => {
    const { data, type } = await Effect.runPromise(codec.encode(value, nowhere))
    return [type, data]
  },
  loadsTyped: (type, data) =>
    Effect.runPromise(
      codec.decode({ type, data: typeof data === "string" ? new TextEncoder().encode(data) : data }, nowhere)
    )
})

/**
 * For a checkpointer that a saver is made from: `SqlCheckpointer.layer().pipe(Layer.provide(LangGraphCodec.layer))`.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<Codec.Codec> = Layer.succeed(Codec.Codec, langGraph)

const nowhere: Codec.Location = { part: "channel", channel: "" }

const makePlain = (value: unknown, at: Codec.Location): Plain.Made | SerializationError => {
  try {
    return Plain.make(value)
  } catch (cause) {
    if (cause instanceof Plain.Refusal) {
      return new SerializationError({ operation: "encode", ...at, path: cause.path, reason: cause.reason })
    }
    const reason = cause instanceof RangeError ? "it is nested too deeply" : "reading its properties failed"
    return new SerializationError({ operation: "encode", ...at, path: [], reason, cause })
  }
}

// A thread that holds a record that can't be loaded can't be read at all, so this is found out before it is written: for
// each class once, and for data of that form each time.
const loadable = new Set<string>()

const verifyAll = (records: Plain.Made["records"], at: Codec.Location): Effect.Effect<void, SerializationError> =>
  Effect.forEach(
    records.filter(({ ofObject, record }) => !ofObject || !loadable.has(nameOf(record))),
    ({ ofObject, path, record }) =>
      Effect.flatMap(Codec.json.encode(record, at), (encoded) =>
        Effect.matchEffect(langGraph.decode(encoded, at), {
          onFailure: ({ cause }) => {
            const reason = `LangChain could not load ${nameOf(record)} again; keep what it is made of instead`
            return new SerializationError({ operation: "encode", ...at, path, reason, cause })
          },
          onSuccess: () => Effect.sync(() => ofObject && loadable.add(nameOf(record)))
        })
      ),
    { discard: true }
  )

const nameOf = (record: { readonly id: ReadonlyArray<string> }): string => record.id.join("/")

const settled = <A>(
  evaluate: () => Promise<A>,
  operation: SerializationError["operation"],
  at: Codec.Location
): Effect.Effect<A, SerializationError> =>
  Effect.tryPromise({
    try: evaluate,
    catch: (cause) =>
      new SerializationError({
        operation,
        ...at,
        path: [],
        reason: cause instanceof Error ? cause.message : String(cause),
        cause
      })
  })
