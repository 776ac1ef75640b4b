/**
 * The default codec's JSON as text, settled at once (see `settled.ts`): what goes into a JSONB column need not become bytes
 * in between.
 *
 * @internal
 */
import * as Effect from "effect/Effect"
import { SerializationError } from "../CheckpointError.ts"
import type { Location } from "../Codec.ts"
import * as Json from "./json.ts"

/** @internal */
export const encode = (value: unknown, at: Location): Effect.Effect<string, SerializationError> =>
  encoded(() => Json.stringify(value), at)

/** An object without one of its properties. @internal */
export const encodeWithout = (
  object: object,
  omitted: string,
  at: Location
): Effect.Effect<string, SerializationError> => encoded(() => Json.stringifyWithout(object, omitted), at)

const encoded = (stringify: () => string, at: Location): Effect.Effect<string, SerializationError> => {
  try {
    return Effect.succeed(stringify())
  } catch (cause) {
    if (cause instanceof Json.Refusal) {
      return new SerializationError({ operation: "encode", ...at, path: cause.path, reason: cause.reason })
    }
    const reason = cause instanceof RangeError ? "its text is too long" : "reading its properties failed"
    return new SerializationError({ operation: "encode", ...at, path: [], reason, cause })
  }
}

/** `text` may be read from where it is when it is asked for. @internal */
export const decode = (text: () => string, at: Location): Effect.Effect<unknown, SerializationError> => {
  try {
    return Effect.succeed(Json.parse(text()))
  } catch (cause) {
    return new SerializationError({
      operation: "decode",
      ...at,
      path: [],
      reason: "what is stored is not valid JSON in UTF-8; was it written or cut by another program?",
      cause
    })
  }
}
