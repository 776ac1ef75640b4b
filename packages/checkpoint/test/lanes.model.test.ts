/**
 * The lanes' state, driven at random, checked against the books of a world after every step.
 *
 * `LANES_SEEDS=20000 LANES_STEPS=2000` makes it a soak; `LANES_SEED=17` runs one seed again.
 */
import { describe, expect, it } from "vitest"
import { Broken } from "./lanes/law.ts"
import { draw, type Operation } from "./lanes/operations.ts"
import { fromSeed } from "./lanes/random.ts"
import { World } from "./lanes/world.ts"

const seeds = Number(process.env.LANES_SEEDS ?? 300)
const steps = Number(process.env.LANES_STEPS ?? 300)
const only = process.env.LANES_SEED

const run = (
  seed: number,
  operations: ReadonlyArray<Operation>
): { readonly world: World; readonly broken?: Error } => {
  const world = new World(seed)
  try {
    for (const operation of operations) world.step(operation)
    world.finish()
    return { world }
  } catch (error) {
    return { world, broken: error as Error }
  }
}

/** Leaves out what it fails without: ever smaller pieces, until nothing more can go. */
const shrink = (seed: number, operations: ReadonlyArray<Operation>): ReadonlyArray<Operation> => {
  let current = operations
  for (let size = Math.ceil(current.length / 2); size >= 1; size = size === 1 ? 0 : Math.ceil(size / 2)) {
    for (let at = 0; at < current.length; ) {
      const candidate = [...current.slice(0, at), ...current.slice(at + size)]
      if (run(seed, candidate).broken !== undefined) current = candidate
      else at += size
    }
  }
  return current.length < operations.length ? shrink(seed, current) : current
}

const check = (seed: number, met: Set<string>) => {
  const random = fromSeed(seed + 1_000_003)
  const operations = Array.from({ length: steps }, () => draw(random))
  const { broken, world } = run(seed, operations)
  for (const what of world.met) met.add(what)
  if (broken === undefined) return
  const least = shrink(seed, operations)
  const again = run(seed, least)
  expect.fail(
    [
      `broken: ${again.broken instanceof Broken ? again.broken.message : again.broken?.stack}`,
      `again: LANES_SEED=${seed} LANES_STEPS=${steps}`,
      `config: ${JSON.stringify(again.world.config)}`,
      `operations: ${least.map(({ kind, n }) => `${kind} ${n}`).join(", ")}`,
      ...again.world.log.slice(-30).map((line) => `  ${line}`)
    ].join("\n")
  )
}

describe("any sequence of operations keeps every law of the lanes", () => {
  if (only !== undefined) {
    it(`seed ${only}`, () => check(Number(only), new Set()))
  } else {
    it(`${seeds} seeds of ${steps} steps`, { timeout: 24 * 3_600_000 }, () => {
      const met = new Set<string>()
      for (let seed = 1; seed <= seeds; seed++) check(seed, met)
      // Laws hold easily over runs in which nothing happens.
      expect([...met].sort()).toEqual(everything)
    })
  }
})

const everything = [
  [
    "answer",
    "barrier",
    "close",
    "commit",
    "conflict",
    "dispatch",
    "fatal",
    "interrupt",
    "lostAfter",
    "lostBefore",
    "pass"
  ],
  ["passUnnoticed", "put", "saturated", "writes"],
  ["answer: Closed", "answer: Done", "answer: Expired", "answer: Failed"],
  ["failed: conflict", "failed: fatal", "failed: lost", "failed: refused", "failed: saturated"],
  ["refused: Closed ", "refused: Full bytes", "refused: Full count"],
  ["interrupt: in flight", "interrupt: queued", "batch", "compared", "compared without trouble"]
]
  .flat()
  .sort()
