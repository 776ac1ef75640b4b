/**
 * Times variants side by side: they take turns within one run, so that what else the machine does hits all of them, and
 * what counts is the ratio within a round.
 */

/** A variant does what is to be timed once. */
export type Variant = () => Promise<unknown>

export interface Result {
  /** The median of the rounds' medians, in milliseconds. */
  readonly time: number
  /** How many times faster than the first variant: the median over the rounds, and the middle half of them. */
  readonly ratio: number
  readonly spread: readonly [number, number]
}

/** The results in the order of the variants. The first variant is what the others are compared with. */
export const sideBySide = async (
  variants: ReadonlyArray<Variant>,
  options: { readonly rounds: number; readonly milliseconds: number }
): Promise<ReadonlyArray<Result>> => {
  const rounds: Array<ReadonlyArray<number>> = []
  // The first rounds warm up: compilers, caches, prepared statements.
  for (let round = -2; round < options.rounds; round++) {
    const times: Array<number> = []
    // In turn from another one on, so that none always follows the same.
    for (let i = 0; i < variants.length; i++) {
      const at = (i + Math.max(round, 0)) % variants.length
      times[at] = await medianTime(variants[at]!, options.milliseconds)
    }
    if (round >= 0) rounds.push(times)
  }
  return variants.map((_, i) => {
    const ratios = rounds.map((times) => times[0]! / times[i]!)
    return {
      time: quantile(
        rounds.map((times) => times[i]!),
        0.5
      ),
      ratio: quantile(ratios, 0.5),
      spread: [quantile(ratios, 0.25), quantile(ratios, 0.75)]
    }
  })
}

const medianTime = async (variant: Variant, milliseconds: number): Promise<number> => {
  const times: Array<number> = []
  const end = performance.now() + milliseconds
  while (times.length < 5 || performance.now() < end) {
    const start = performance.now()
    await variant()
    times.push(performance.now() - start)
  }
  return quantile(times, 0.5)
}

const quantile = (values: ReadonlyArray<number>, q: number): number =>
  values.toSorted((a, b) => a - b)[Math.min(values.length - 1, Math.floor(q * values.length))]!
