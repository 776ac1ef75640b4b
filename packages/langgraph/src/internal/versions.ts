/**
 * The versions of channels.
 *
 * Branches that start from one checkpoint write their values under versions that are counted on from there. Were these
 * whole numbers, both would write the same version, the first value would stay, and one branch would read the other's.
 * So a version has a part by chance, which makes it this branch's own.
 *
 * @internal
 */

/** As LangGraph's Python savers write them: `n` in 32 digits, a point, and a random part. */
const pythons = /^(\d{32})\./

/**
 * The version after `current`, of the same kind: `n + k / 2 ** 32` after a number, so that whole numbers of other savers
 * and these are in order; a string after a string. `random` gives numbers from 0 on and below 1.
 *
 * @internal
 */
export const next = (current: number | string | undefined, random: () => number): number | string => {
  if (typeof current !== "string") {
    // Never 0: that would be the whole number that another saver writes.
    return Math.floor(current ?? 0) + 1 + (1 + Math.floor(random() * (2 ** 32 - 1))) / 2 ** 32
  }
  const n = pythons.exec(current)?.[1]
  if (n === undefined) {
    throw new TypeError(
      `CheckpoolSaver can't count on from the version ${JSON.stringify(current)}: it is neither a number nor of the form ` +
        "that LangGraph's Python savers write. Override getNextVersion with the rule of the saver that wrote it"
    )
  }
  const part = Math.floor(random() * 10 ** 16)
  return `${(BigInt(n) + 1n).toString().padStart(32, "0")}.${part.toString().padStart(16, "0")}`
}
