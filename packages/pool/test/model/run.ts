/**
 * Runs of the model: from a seed, from a list of operations, and to their end.
 */
import * as Config_ from "./config.ts"
import { draw, type Operation, show, shrink } from "./operation.ts"
import * as Random from "./random.ts"
import { begin, step } from "./step.ts"
import { Broken, law, type World } from "./world.ts"

export interface Outcome {
  readonly operations: ReadonlyArray<Operation>
  readonly world: World
  readonly broken: Broken | undefined
}

/** `steps` operations that mean something, drawn from the seed, then the end. */
export const fromSeed = (seed: number, steps: number): Outcome => {
  const world = begin(Config_.arbitrary(Random.fromSeed(seed)))
  const random = Random.fromSeed(seed + 1_000_003)
  const operations: Array<Operation> = []
  return attempt(world, operations, () => {
    while (operations.length < steps) {
      const operation = draw(random)
      operations.push(operation)
      if (!step(world, operation)) operations.pop()
    }
    finish(world, seed)
  })
}

/** The same again with other operations. */
export const replay = (seed: number, operations: ReadonlyArray<Operation>): Outcome => {
  const world = begin(Config_.arbitrary(Random.fromSeed(seed)))
  return attempt(world, operations, () => {
    for (const operation of operations) step(world, operation)
    finish(world, seed)
  })
}

/** What to print of a failure: the law, the least that breaks it, and how to run it again. */
export const report = (seed: number, steps: number, failure: Outcome): string => {
  const least = shrink(failure.operations, (operations) => replay(seed, operations).broken !== undefined)
  const { broken, world } = replay(seed, least)
  return [
    `broken: ${broken?.message}`,
    `again: MODEL_SEED=${seed} MODEL_STEPS=${steps}`,
    `config: ${JSON.stringify(world.config)}`,
    `operations: ${least.map(show).join(", ")}`,
    `commands:`,
    ...world.log.slice(-30).map((line) => `  ${line}`)
  ].join("\n")
}

const attempt = (world: World, operations: ReadonlyArray<Operation>, f: () => void): Outcome => {
  try {
    f()
    return { operations, world, broken: undefined }
  } catch (error) {
    return { operations, world, broken: error instanceof Broken ? error : new Broken(String((error as Error).stack)) }
  }
}

/** Half of the runs end in peace, half in a drain in which nothing answers any more. */
const finish = (world: World, seed: number): void => {
  if (world.draining || seed % 2 === 0) drain(world)
  else settle(world)
}

/** Law 1 at quiescence, and law 9: when everything answers, everybody is served and every slot ends idle or free. */
const settle = (world: World): void => {
  const answers = ["resume", "release", "connectOk", "checkOk", "resetOk", "closeOk"] as const
  for (let rounds = 0; rounds < 1_000; rounds++) {
    const done = answers.filter((kind) => step(world, { kind, n: 0 }))
    const busy = world.queue.length > 0 || world.live < (world.warm ? world.min : 0)
    if (done.length === 0 && !busy) break
    if (done.length === 0) {
      law(Number.isFinite(world.state.wakeAt), "something is still wanted, and no timer is set")
      step(world, { kind: "pass", n: Math.max(0, Math.ceil(world.state.wakeAt - world.now)) })
    }
  }
  law(world.queue.length === 0, "a waiter was never answered")
  law(world.count("idle") === world.entries.size, "a slot ended neither idle nor free")
  law(!world.warm || world.live >= world.min, "the minimum was not reached again")
}

/** Law 22: a drain ends by its grace and one close timeout, even if nothing ever answers. */
const drain = (world: World): void => {
  const { closeTimeout } = world.config
  if (!world.draining) step(world, { kind: "drain", n: 40 })
  step(world, { kind: "pass", n: Math.ceil(Math.max(world.graceEnds - world.now, 0)) })
  step(world, { kind: "pass", n: closeTimeout })
  law(world.drained === 1 && world.state.phase === "closed", "a drain did not end")
  while (step(world, { kind: "lateSuccess", n: 0 }));
}
