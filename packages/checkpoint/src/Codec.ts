/**
 * How the values of channels become bytes and come back.
 *
 * The default writes what LangGraph.js reads: JSON, or the bytes themselves for a `Uint8Array`. It loses nothing
 * silently: a value comes back as it was, or it is refused with its channel and path.
 *
 * | value | as |
 * | --- | --- |
 * | JSON values; strings with NUL or lone surrogates | JSON |
 * | `-0`, `Infinity` | JSON numbers that are read back as such |
 * | `undefined`, `Map`, `Set`, `RegExp`, a `Uint8Array` inside of a value | LangGraph's records `{ lc: 2, … }` |
 * | a `Uint8Array` as the value of a channel | bytes; a `Buffer` comes back as a `Uint8Array` |
 * | `BigInt`, `Date`, `NaN`, `Error`, `URL`, functions, symbols, instances of classes, cycles | refused |
 * | arrays with holes; what is nested more than 900 levels deep; what is larger than 1 GB | refused |
 *
 * The value of an object are its own enumerable properties. An object that is used in two places comes back as two equal objects, and one without a prototype as a plain one.
 *
 * To keep other types, encode the state with a `Schema` before it is put, or provide a codec of your own.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import { SerializationError } from "./CheckpointError.ts"
import * as Json from "./internal/json.ts"
import * as JsonText from "./internal/jsonText.ts"
import * as Settled from "./internal/settled.ts"

/**
 * A value in its stored form.
 *
 * @since 0.1.0
 * @category models
 */
export interface Encoded {
  /** Names the format, so that a reader knows whether it can decode: `json` or `bytes` by default. Never `empty`. */
  readonly type: string
  readonly data: Uint8Array
}

/**
 * Where a value stands, for the error that names it.
 *
 * @since 0.1.0
 * @category models
 */
export interface Location {
  readonly part: SerializationError["part"]
  /** Empty when the value belongs to no channel. */
  readonly channel: string
}

/**
 * What a codec does.
 *
 * Metadata, and channel values that have no version, live in JSONB columns: they are encoded as one plain object,
 * which has to become valid JSON of type `json`.
 *
 * @since 0.1.0
 * @category models
 */
export interface Service {
  readonly encode: (value: unknown, at: Location) => Effect.Effect<Encoded, SerializationError>
  readonly decode: (encoded: Encoded, at: Location) => Effect.Effect<unknown, SerializationError>
}

/**
 * The default codec.
 *
 * @since 0.1.0
 * @category constructors
 */
export const json: Service = {
  // Both at once, and not in an effect that has yet to run: what is put or read consists of many values.
  encode: (value, at) => {
    // A copy: the caller may go on writing to its buffer.
    if (Json.isBytes(value)) return Effect.succeed({ type: "bytes", data: Uint8Array.from(value) })
    const quoted = Json.quoted(value)
    if (quoted !== undefined) return Effect.succeed({ type: "json", data: quoted })
    return Settled.flatMap(JsonText.encode(value, at), (text) =>
      Effect.succeed({ type: "json", data: Buffer.from(text) })
    )
  },
  decode: ({ data, type }, at) => {
    if (type === "bytes") return Effect.succeed(Uint8Array.from(data))
    if (type !== "json") {
      const reason = `it was stored as ${JSON.stringify(type)}, which this codec can't read; provide the Codec that wrote it`
      return new SerializationError({ operation: "decode", ...at, path: [], reason })
    }
    return JsonText.decode(() => fromUtf8.decode(data), at)
  }
}

/**
 * The codec that a checkpointer is built with; {@link json} unless another one is provided.
 *
 * @since 0.1.0
 * @category context
 */
export class Codec extends Context.Reference<Codec>()("@checkpool/checkpoint/Codec", {
  defaultValue: (): Service => json
}) {}

const fromUtf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })
