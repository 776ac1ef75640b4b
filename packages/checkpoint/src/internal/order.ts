/**
 * By code point, as Postgres compares under COLLATE "C" and Python compares strings. JavaScript's `<` compares UTF-16
 * units and puts U+FFFD after an emoji.
 *
 * @internal
 */
export const codePoints = (a: string, b: string): number => {
  const length = Math.min(a.length, b.length)
  for (let i = 0; i < length; i++) {
    const x = a.charCodeAt(i)
    const y = b.charCodeAt(i)
    // At the first difference, a surrogate stands for a code point above all that fit in one unit.
    if (x !== y) return isSurrogate(x) === isSurrogate(y) ? x - y : isSurrogate(x) ? 1 : -1
  }
  return a.length - b.length
}

const isSurrogate = (unit: number): boolean => unit >= 0xd800 && unit <= 0xdfff
