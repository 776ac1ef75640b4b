/**
 * Percentiles from raw samples, by nearest rank: each figure is a sample that was really measured.
 */

/** In the unit of the samples. All zero when there are none. */
export interface Summary {
  readonly count: number
  readonly p50: number
  readonly p95: number
  readonly p99: number
  readonly max: number
}

export const summary = (samples: ReadonlyArray<number>): Summary => {
  const sorted = Float64Array.from(samples).sort()
  return {
    count: sorted.length,
    p50: percentile(sorted, 50),
    p95: percentile(sorted, 95),
    p99: percentile(sorted, 99),
    max: percentile(sorted, 100)
  }
}

/** The percentiles from 0 to 100, one by one: the shape of a distribution. Empty when there are no samples. */
export const shape = (samples: ReadonlyArray<number>): ReadonlyArray<number> => {
  const sorted = Float64Array.from(samples).sort()
  return sorted.length === 0 ? [] : Array.from({ length: 101 }, (_, percent) => percentile(sorted, percent))
}

/** The smallest sample that at least `percent` per cent of the samples don't exceed. */
export const percentile = (sorted: ArrayLike<number>, percent: number): number =>
  sorted[Math.max(0, Math.ceil((percent / 100) * sorted.length) - 1)] ?? 0

export const sum = (samples: ReadonlyArray<number>): number => samples.reduce((total, sample) => total + sample, 0)

/** How often each value occurs. */
export const tally = (values: Iterable<string>): Record<string, number> => {
  const counts: Record<string, number> = {}
  for (const value of values) counts[value] = (counts[value] ?? 0) + 1
  return counts
}
