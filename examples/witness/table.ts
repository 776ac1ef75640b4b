/**
 * Text in columns, and with or without colour.
 */

export interface Paint {
  readonly bold: (text: string) => string
  readonly dim: (text: string) => string
  readonly good: (text: string) => string
  readonly bad: (text: string) => string
}

const code =
  (begin: number, end: number) =>
  (text: string): string =>
    `\u001b[${begin}m${text}\u001b[${end}m`

export const colours: Paint = { bold: code(1, 22), dim: code(2, 22), good: code(32, 39), bad: code(31, 39) }

const same = (text: string) => text

export const plain: Paint = { bold: same, dim: same, good: same, bad: same }

/** Each column as wide as its widest cell; the first one to the left, the others to the right. */
export const align = (rows: ReadonlyArray<ReadonlyArray<string>>, gap = 2): ReadonlyArray<string> => {
  const columns = Math.max(...rows.map(({ length }) => length))
  const widths = Array.from({ length: columns }, (_, i) => Math.max(...rows.map((row) => row[i]?.length ?? 0)))
  return rows.map((row) =>
    row
      .map((cell, i) => (i === 0 ? cell.padEnd(widths[i]!) : " ".repeat(gap) + cell.padStart(widths[i]!)))
      .join("")
      .trimEnd()
  )
}

/** Breaks a text into lines between its words. */
export const wrap = (text: string, width: number): ReadonlyArray<string> => {
  const lines: Array<string> = []
  for (const word of text.split(" ")) {
    const last = lines.at(-1)
    if (last !== undefined && last.length + 1 + word.length <= width) lines[lines.length - 1] = `${last} ${word}`
    else lines.push(word)
  }
  return lines
}
