/**
 * Measures variants side by side: they take turns within one run, so that what else the machine does hits all of them,
 * and what counts is the ratio within a round.
 */

/** Gives one figure. */
export type Variant = () => Promise<number>

/** Of several figures or ratios: the median, and the middle half of them. */
export interface Summary {
  readonly median: number
  readonly low: number
  readonly high: number
}

/** What one variant came to. */
export interface Result {
  readonly value: Summary
  /** How many times better than another variant in the same round. */
  readonly against: (other: Result) => Summary
}

/** The results in the order of the variants. */
export const sideBySide = async (
  variants: ReadonlyArray<Variant>,
  options: { readonly rounds: number; readonly warmUp: number; readonly better: "higher" | "lower" }
): Promise<ReadonlyArray<Result>> => {
  const rounds: Array<ReadonlyArray<number>> = []
  // The first rounds are for compilers, caches and prepared statements.
  for (let round = -options.warmUp; round < options.rounds; round++) {
    const values: Array<number> = []
    // In another order each time, so that none always follows the same: what one leaves behind slows the next one down.
    for (const at of shuffled(variants.length)) values[at] = await variants[at]!()
    if (round >= 0) rounds.push(values)
  }
  const samples = new Map<Result, ReadonlyArray<number>>()
  return variants.map((_, i) => {
    const mine = rounds.map((values) => values[i]!)
    const result: Result = {
      value: summarize(mine),
      against: (other) => {
        const theirs = samples.get(other)!
        return summarize(
          mine.map((value, round) => (options.better === "higher" ? value / theirs[round]! : theirs[round]! / value))
        )
      }
    }
    samples.set(result, mine)
    return result
  })
}

/** The milliseconds that it takes, as the median over some time. */
export const medianTime = async (run: () => Promise<unknown>, milliseconds: number): Promise<number> => {
  const times: Array<number> = []
  const end = performance.now() + milliseconds
  while (times.length < 5 || performance.now() < end) {
    const start = performance.now()
    await run()
    times.push(performance.now() - start)
  }
  return summarize(times).median
}

const shuffled = (length: number): ReadonlyArray<number> =>
  Array.from({ length }, (_, at) => ({ at, place: Math.random() }))
    .sort((a, b) => a.place - b.place)
    .map(({ at }) => at)

const summarize = (values: ReadonlyArray<number>): Summary => {
  const sorted = values.toSorted((a, b) => a - b)
  const quantile = (q: number) => sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))]!
  return { median: quantile(0.5), low: quantile(0.25), high: quantile(0.75) }
}
