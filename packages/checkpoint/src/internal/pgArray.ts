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
  encode(25, values, Buffer.byteLength, (buffer, value, offset) => buffer.write(value, offset))

/** A parameter for `$n::int[]`. @internal */
export const int4 = (values: ReadonlyArray<number>): Buffer =>
  encode(
    23,
    values,
    () => 4,
    (buffer, value, offset) => buffer.writeInt32BE(value, offset)
  )

/** A parameter for `$n::bytea[]`. @internal */
export const bytea = (values: ReadonlyArray<Uint8Array | null>): Buffer =>
  encode(
    17,
    values,
    (value) => value.byteLength,
    (buffer, value, offset) => buffer.set(value, offset)
  )

const encode = <A>(
  elementType: number,
  values: ReadonlyArray<A | null>,
  sizeOf: (value: A) => number,
  put: (buffer: Buffer, value: A, offset: number) => void
): Buffer => {
  const sizes = values.map((value) => (value === null ? null : sizeOf(value)))
  const buffer = Buffer.allocUnsafe(
    sizes.reduce<number>((sum, size) => sum + 4 + (size ?? 0), values.length === 0 ? 12 : 20)
  )
  // An empty array has no dimensions at all.
  let offset = buffer.writeInt32BE(values.length === 0 ? 0 : 1)
  offset = buffer.writeInt32BE(values.includes(null) ? 1 : 0, offset)
  offset = buffer.writeInt32BE(elementType, offset)
  if (values.length > 0) {
    offset = buffer.writeInt32BE(values.length, offset)
    offset = buffer.writeInt32BE(1, offset)
  }
  for (const [i, value] of values.entries()) {
    const size = sizes[i]
    offset = buffer.writeInt32BE(size ?? -1, offset)
    if (value === null) continue
    put(buffer, value, offset)
    offset += size ?? 0
  }
  return buffer
}
