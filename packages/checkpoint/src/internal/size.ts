/**
 * What one operation may hold. The server closes the connection on a message of 1 GiB, which then looks like a lost one and
 * would be tried again and again.
 *
 * @internal
 */
import { SerializationError } from "../CheckpointError.ts"

const maxBytes = 2 ** 30 - 2 ** 20

/** @internal */
export const check = (
  values: ReadonlyArray<{ readonly channel: string; readonly blob: Uint8Array | null }>
): SerializationError | undefined => {
  let bytes = 0
  let largest = { channel: "", size: -1 }
  for (const { blob, channel } of values) {
    const size = blob?.byteLength ?? 0
    bytes += size
    if (size > largest.size) largest = { channel, size }
  }
  if (bytes <= maxBytes) return undefined
  const reason = `it has ${largest.size} bytes of the ${bytes} that are to be stored together, and Postgres takes 1 GB at most; store a reference in its place`
  return new SerializationError({ operation: "encode", part: "channel", channel: largest.channel, path: [], reason })
}
