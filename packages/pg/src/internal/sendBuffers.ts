/**
 * Memory for large messages, used again and again. Memory of that size is not the engine's own: to get it for one message,
 * and to have it collected after that, takes longer than to fill it.
 *
 * @internal
 */

/** What is smaller comes from memory that is shared out by `Buffer` itself. */
const smallest = 2 ** 14

/** Bytes that are kept for later messages, of all connections together. */
const kept = 2 ** 23

const spare: Array<ArrayBuffer> = []
let bytes = 0

/** Of this size. What is in it is of another message. @internal */
export const take = (size: number): Buffer => {
  if (size < smallest) return Buffer.allocUnsafe(size)
  const at = spare.findIndex(({ byteLength }) => byteLength >= size)
  if (at < 0) return Buffer.allocUnsafeSlow(2 ** Math.ceil(Math.log2(size))).subarray(0, size)
  const [memory] = spare.splice(at, 1) as [ArrayBuffer]
  bytes -= memory.byteLength
  return Buffer.from(memory, 0, size)
}

/** What was taken, when nobody looks at it any more. @internal */
export const giveBack = (buffer: Buffer): void => {
  const memory = buffer.buffer as ArrayBuffer
  if (buffer.length < smallest || bytes + memory.byteLength > kept) return
  spare.push(memory)
  bytes += memory.byteLength
}
