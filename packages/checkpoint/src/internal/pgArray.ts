/**
 * Postgres's binary array layout. `pg` sends a `Buffer` in binary format as it is, so a whole array of blobs travels as
 * one parameter without becoming hex text, which would double it and make the server parse it.
 *
 * Layout: number of dimensions, whether there are NULLs, the elements' type; for the one dimension its length and lower
 * bound; then for each element its length, -1 for NULL, and its bytes. All numbers are int32, big endian.
 *
 * @internal
 */

/** A parameter for `$n::text[]`: a column of the rows. @internal */
export const text = <A>(rows: ReadonlyArray<A>, column: (row: A) => string | null): Buffer => {
  let at = headerOf(rows.length)
  let nulls = false
  for (const row of rows) {
    const value = column(row)
    if (value === null) {
      nulls = true
      reserve(at, 4)
      at = desk.writeInt32BE(-1, at)
    } else {
      const isShort = value.length <= short
      // No UTF-16 unit takes more than three bytes.
      reserve(at, 4 + (isShort ? 3 * value.length : Buffer.byteLength(value)))
      const size = isShort ? putShort(value, at + 4) : desk.write(value, at + 4)
      at = desk.writeInt32BE(size, at) + size
    }
  }
  putHeader(desk, 25, rows.length, nulls)
  const array = Buffer.from(desk.subarray(0, at))
  // Not kept for ever because of one large text.
  if (desk.length > 2 ** 22) desk = Buffer.allocUnsafe(2 ** 16)
  return array
}

/** A parameter for `$n::text[]`: these texts. @internal */
export const texts = (values: ReadonlyArray<string>): Buffer => text(values, (value) => value)

/** A parameter for `$n::int[]`. @internal */
export const int4 = <A>(rows: ReadonlyArray<A>, column: (row: A) => number): Buffer => {
  let at = headerOf(rows.length)
  const array = Buffer.allocUnsafe(at + 8 * rows.length)
  for (const row of rows) {
    at = array.writeInt32BE(4, at)
    at = array.writeInt32BE(column(row), at)
  }
  putHeader(array, 23, rows.length, false)
  return array
}

/** A parameter for `$n::bytea[]`; may be given back. @internal */
export const bytea = <A>(rows: ReadonlyArray<A>, column: (row: A) => Uint8Array | null): Buffer => {
  const values = rows.map(column)
  let at = headerOf(values.length)
  let size = at
  for (const value of values) size += 4 + (value?.byteLength ?? 0)
  const array = take(size)
  for (const value of values) {
    at = array.writeInt32BE(value?.byteLength ?? -1, at)
    if (value === null) continue
    array.set(value, at)
    at += value.byteLength
  }
  putHeader(array, 17, values.length, values.includes(null))
  return array
}

/**
 * Large arrays are made in memory that is used again: it is not the engine's own, and to get it for each of them and to have it
 * collected takes longer than to fill it.
 */
const spare: Array<ArrayBufferLike> = []

/** What may be given back, and only once. */
const lent = new WeakSet<ArrayBufferLike>()

const take = (size: number): Buffer => {
  if (size < large) return Buffer.allocUnsafe(size)
  const memory = spare.pop()
  const array =
    memory !== undefined && memory.byteLength >= size
      ? Buffer.from(memory as ArrayBuffer, 0, size)
      : Buffer.allocUnsafeSlow(2 ** Math.ceil(Math.log2(size))).subarray(0, size)
  lent.add(array.buffer)
  return array
}

/** Of the parameters of a statement that has succeeded, so that nobody reads them any more. @internal */
export const giveBack = (parameters: ReadonlyArray<unknown>): void => {
  for (const parameter of parameters) {
    if (!Buffer.isBuffer(parameter) || parameter.length < large || spare.length === spares) continue
    const { buffer } = parameter
    if (buffer.byteLength <= largestSpare && lent.delete(buffer)) spare.push(buffer)
  }
}

const large = 2 ** 14
const largestSpare = 2 ** 21
const spares = 4

/** Where texts are put together, whose sizes are known when they are written. */
let desk = Buffer.allocUnsafe(2 ** 16)

const reserve = (at: number, size: number): void => {
  if (at + size <= desk.length) return
  const larger = Buffer.allocUnsafe(2 * (at + size))
  desk.copy(larger, 0, 0, at)
  desk = larger
}

/** Up to here, a text is written faster than it takes to call the engine's own encoder. */
const short = 64

/** Its size in bytes. */
const putShort = (value: string, at: number): number => {
  for (let i = 0; i < value.length; i++) {
    const unit = value.charCodeAt(i)
    if (unit > 0x7f) return desk.write(value, at)
    desk[at + i] = unit
  }
  return value.length
}

/** The size of the header. An empty array has no dimensions at all. */
const headerOf = (length: number): number => (length === 0 ? 12 : 20)

const putHeader = (array: Buffer, elementType: number, length: number, nulls: boolean): void => {
  array.writeInt32BE(length === 0 ? 0 : 1, 0)
  array.writeInt32BE(nulls ? 1 : 0, 4)
  array.writeInt32BE(elementType, 8)
  if (length > 0) {
    array.writeInt32BE(length, 12)
    array.writeInt32BE(1, 16)
  }
}
