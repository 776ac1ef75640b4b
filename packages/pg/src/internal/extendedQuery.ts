/**
 * The messages that run a prepared statement, as one piece of memory of just the right size. The driver writes each of
 * them for itself, into memory that it has to enlarge step by step.
 *
 * Layout: https://www.postgresql.org/docs/current/protocol-message-formats.html
 *
 * @internal
 */
import * as SendBuffers from "./sendBuffers.ts"

/** How the driver sends it, if it is among what is written here: NULL, text, or bytes in the type's binary format. */
type Value = string | Buffer | null

/**
 * Bind, Describe (`describe`: the columns of the result are not known yet), Execute and Sync for the unnamed portal, with
 * the result as text; to be given back to `sendBuffers.ts`. `undefined`: there is a value that the driver has a form of its own for.
 *
 * @internal
 */
export const run = (name: string, values: ReadonlyArray<unknown>, describe: boolean): Buffer | undefined => {
  const count = values.length
  const prepared: Array<Value> = new Array(count)
  const sizes: Array<number> = new Array(count)
  const nameSize = Buffer.byteLength(name) + 1
  // The length itself, the portal's name, the statement's, the parameters' formats and their number twice, the result's.
  let length = 4 + 1 + nameSize + 2 + 2 * count + 2 + 4
  for (let i = 0; i < count; i++) {
    const value = toValue(values[i])
    if (value === undefined) return undefined
    const size = value === null ? 0 : typeof value === "string" ? Buffer.byteLength(value) : value.length
    prepared[i] = value
    sizes[i] = size
    length += 4 + size
  }
  if (count > maxCount || length > maxLength) return undefined
  const rest = describe ? describeExecuteSync : executeSync
  const message = SendBuffers.take(1 + length + rest.length)
  let at = message.writeUInt8(bind)
  at = message.writeInt32BE(length, at)
  at = message.writeUInt8(0, at)
  at += message.write(name, at)
  at = message.writeUInt8(0, at)
  at = message.writeUInt16BE(count, at)
  for (let i = 0; i < count; i++) at = message.writeInt16BE(prepared[i] instanceof Buffer ? 1 : 0, at)
  at = message.writeUInt16BE(count, at)
  for (let i = 0; i < count; i++) {
    const value = prepared[i]!
    at = message.writeInt32BE(value === null ? -1 : sizes[i]!, at)
    if (value === null) continue
    if (typeof value === "string") message.write(value, at)
    else message.set(value, at)
    at += sizes[i]!
  }
  at = message.writeInt16BE(1, at)
  at = message.writeInt16BE(0, at)
  message.set(rest, at)
  return message
}

const toValue = (value: unknown): Value | undefined => {
  switch (typeof value) {
    case "string":
      return value
    case "number":
    case "boolean":
    case "bigint":
      return String(value)
    case "undefined":
      return null
    default:
      return value === null || value instanceof Buffer ? value : undefined
  }
}

// What goes beyond these has no place in the messages: that is for the driver to refuse.
const maxCount = 2 ** 16 - 1
const maxLength = 2 ** 30

const bind = 0x42

const sync = [0x53, 0, 0, 0, 4]
// Of the unnamed portal, and all of its rows.
const executeSync = Buffer.from([0x45, 0, 0, 0, 9, 0, 0, 0, 0, 0, ...sync])
const describeExecuteSync = Buffer.concat([Buffer.from([0x44, 0, 0, 0, 6, 0x50, 0]), executeSync])
