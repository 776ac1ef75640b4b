/**
 * An interrupt may meet a caller anywhere: before it has handed its operation over, while that waits, while it is in
 * flight, between the commit and going on. So each path is run again and again, the caller interrupted at operation
 * 0, 1, 2, … of all the fibers that take part, until it runs through. After each: its neighbours are served, nothing is
 * lost or done twice, and the lanes are empty.
 */
import { Effect, Exit, type Fiber, FiberId, Scope } from "effect"
import type { Scheduler } from "effect/Scheduler"
import { describe, expect, it } from "vitest"
import * as Lanes from "../src/internal/lanes/lanes.ts"
import type { Kind } from "../src/internal/lanes/state.ts"

/** Runs fibers by hand, counts every operation of each, and interrupts one of them at the chosen operation. */
class Sweep implements Scheduler {
  operations = 0
  target: Fiber.RuntimeFiber<unknown, unknown> | undefined
  private readonly tasks: Array<() => void> = []
  private readonly at: number
  private readonly newestFirst: boolean

  constructor(at: number, newestFirst: boolean) {
    this.at = at
    this.newestFirst = newestFirst
  }

  shouldYield(): false {
    if (this.target !== undefined && this.operations++ === this.at) this.target.unsafeInterruptAsFork(FiberId.none)
    return false
  }

  scheduleTask(task: () => void): void {
    this.tasks.push(task)
  }

  run<A, E>(effect: Effect.Effect<A, E>): Fiber.RuntimeFiber<A, E> {
    return Effect.runFork(Effect.withScheduler(effect, this), { scheduler: this })
  }

  flush(): void {
    for (let run = 0; this.tasks.length > 0; run++) {
      if (run === 10_000) throw new Error("the fibers never come to rest")
      ;(this.newestFirst ? this.tasks.pop() : this.tasks.shift())!()
    }
  }

  /** The result of an effect that has to end by itself now. */
  now<A, E>(effect: Effect.Effect<A, E>): Exit.Exit<A, E> {
    const fiber = this.run(effect)
    this.flush()
    const exit = fiber.unsafePoll()
    if (exit === null) throw new Error("does not end")
    return exit
  }
}

const some = Effect.yieldNow().pipe(Effect.repeatN(2))

interface Path {
  readonly maxInFlight?: number
  /** Fails the nth flush that has the caller's operation in it. */
  readonly failure?: (items: ReadonlyArray<string>, nth: number) => Kind | undefined
  /** What others submit, each in its thread, before and after the caller does. */
  readonly before?: ReadonlyArray<readonly [item: string, thread: string]>
  readonly after?: ReadonlyArray<readonly [item: string, thread: string]>
}

const paths: Record<string, Path> = {
  "it is alone": {},
  "it goes together with others": {
    maxInFlight: 1,
    before: [["a", "1"]],
    after: [
      ["b", "1"],
      ["c", "me"]
    ]
  },
  "it waits for its own thread": {
    before: [
      ["a", "me"],
      ["b", "me"]
    ],
    after: [["c", "me"]]
  },
  "another one of its batch is bad": {
    maxInFlight: 1,
    before: [["bad", "1"]],
    after: [["c", "me"]],
    failure: (items) => (items.includes("bad") ? "refused" : undefined)
  },
  "it is bad itself": {
    maxInFlight: 1,
    before: [["a", "1"]],
    after: [["c", "me"]],
    failure: (items) => (items.includes("me") ? "refused" : undefined)
  },
  "another transaction is in the way": {
    maxInFlight: 1,
    after: [["c", "me"]],
    failure: (_items, nth) => (nth < 2 ? "conflict" : undefined)
  }
}

class Failure {
  readonly _tag = "Failure"
  readonly kind: Kind
  constructor(kind: Kind) {
    this.kind = kind
  }
}

/** How many operations there were to interrupt. */
const sweepThrough = (path: Path, newestFirst: boolean): number => {
  for (let at = 0; ; at++) {
    const sweep = new Sweep(at, newestFirst)
    const committed: Array<string> = []
    let flushes = 0
    const scope = Effect.runSync(Scope.make())
    const lanes = Exit.getOrElse(
      sweep.now(
        Scope.extend(
          Lanes.make<string, Failure>({
            flush: (items) =>
              Effect.suspend(() => {
                const failure = path.failure?.(items, flushes++)
                const end = Effect.suspend(() => {
                  if (failure !== undefined) return Effect.fail(new Failure(failure))
                  committed.push(...items)
                  return Effect.void
                })
                return Effect.zipRight(some, end)
              }),
            kindOf: ({ kind }) => kind,
            timeout: "10 seconds",
            grace: "5 seconds",
            maxInFlight: path.maxInFlight ?? 3,
            maxBatch: 16,
            maxBatchBytes: 1000,
            maxQueued: 100,
            maxQueuedBytes: 10_000,
            maxConflicts: 5,
            retryBase: 100,
            retryCap: 1000
          }),
          scope
        )
      ),
      () => expect.fail("not made")
    )
    const submit = ([item, thread]: readonly [item: string, thread: string]) =>
      lanes.submit({ item, thread, bytes: 1, repeatable: true, barrier: false })
    const others = [...(path.before ?? []), ...(path.after ?? [])]
    const before = (path.before ?? []).map((operation) => sweep.run(submit(operation)))
    const target = sweep.run(Effect.zipRight(some, submit(["me", "me"])))
    const after = (path.after ?? []).map((operation) => sweep.run(Effect.zipRight(some, submit(operation))))
    sweep.target = target
    sweep.flush()
    const ranThrough = sweep.operations <= at
    sweep.target = undefined
    const exit = target.unsafePoll()
    const story = `interrupted at ${at}`
    expect(exit, story).not.toBe(null)
    for (const [i, neighbour] of [...before, ...after].entries()) {
      const bad = others[i]![0] === "bad"
      expect(Exit.isSuccess(neighbour.unsafePoll()!), `${story}, ${others[i]![0]}`).toBe(!bad)
    }
    const expected = others.map(([item]) => item).filter((item) => item !== "bad")
    expect(committed.filter((item) => item !== "me").sort(), story).toEqual(expected.sort())
    const mine = committed.filter((item) => item === "me").length
    expect(mine, story).toBeLessThanOrEqual(1)
    if (Exit.isSuccess(exit!)) expect(mine, story).toBe(1)
    expect(lanes.stats(), story).toMatchObject({ queued: 0, queuedBytes: 0, inFlight: 0 })
    // The lanes still work, and end.
    expect(Exit.isSuccess(sweep.now(submit(["last", "me"]))), story).toBe(true)
    expect(Exit.isSuccess(sweep.now(Scope.close(scope, Exit.void))), story).toBe(true)
    if (ranThrough) return at
  }
}

describe("a caller that is interrupted at any point costs its neighbours nothing, when", () => {
  for (const [name, path] of Object.entries(paths)) {
    for (const newestFirst of [false, true]) {
      it(`${name}, ${newestFirst ? "newest fiber first" : "oldest fiber first"}`, () => {
        expect(sweepThrough(path, newestFirst)).toBeGreaterThan(20)
      })
    }
  }
})
