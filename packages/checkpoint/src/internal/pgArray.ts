/**
 * Postgres's binary array layout. `pg` sends a `Buffer` in binary format as it is, so a whole array of blobs travels as
 * one parameter without becoming hex text, which would double it and make the server parse it.
 *
 * Layout: number of dimensions, whether there are NULLs, the elements' type; for the one dimension its length and lower
 * bound; then for each element its length, -1 for NULL, and its bytes. All numbers are int32, big endian.
 *
 * @internal
 */

/** A parameter for `$n::text[]`. @internal */
export const text = (values: ReadonlyArray<string | null>): Buffer =>
  encode(
    25,
    values.map((value) => (value === null ? null : Buffer.from(value)))
  )

/** A parameter for `$n::int[]`. @internal */
export const int4 = (values: ReadonlyArray<number>): Buffer =>
  encode(
    23,
    values.map((value) => {
      const element = Buffer.allocUnsafe(4)
      element.writeInt32BE(value)
      return element
    })
  )

/** A parameter for `$n::bytea[]`. @internal */
export const bytea = (values: ReadonlyArray<Uint8Array | null>): Buffer => encode(17, values)

const encode = (elementType: number, values: ReadonlyArray<Uint8Array | null>): Buffer => {
  let size = values.length === 0 ? 12 : 20
  for (const value of values) size += 4 + (value === null ? 0 : value.byteLength)
  const buffer = Buffer.allocUnsafe(size)
  // An empty array has no dimensions at all.
  let offset = buffer.writeInt32BE(values.length === 0 ? 0 : 1)
  offset = buffer.writeInt32BE(values.includes(null) ? 1 : 0, offset)
  offset = buffer.writeInt32BE(elementType, offset)
  if (values.length > 0) {
    offset = buffer.writeInt32BE(values.length, offset)
    offset = buffer.writeInt32BE(1, offset)
  }
  for (const value of values) {
    offset = buffer.writeInt32BE(value === null ? -1 : value.byteLength, offset)
    if (value !== null) {
      buffer.set(value, offset)
      offset += value.byteLength
    }
  }
  return buffer
}
