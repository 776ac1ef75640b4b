/**
 * Figures and verdicts, as they stand in tables.
 */

/** Three digits. */
export const figure = (value: number): string =>
  value >= 100 ? value.toFixed(0) : String(Number(value.toPrecision(3)))

/** What a measure comes to beside its target: 1 is just enough, and misses by up to 15 % are within the floor. */
export const verdict = (reached: number): string =>
  reached >= 1
    ? "reached"
    : `${reached >= 0.85 ? "within the floor" : "**missed**"}, ${Math.floor(reached * 100)} % of it`
