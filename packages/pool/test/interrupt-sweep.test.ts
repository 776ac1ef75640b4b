/**
 * An interrupt may meet a borrower anywhere: on the way to an idle resource, in the queue, while a connect or a check
 * runs for it, between being given a slot and going on. Other pools lose the slot at one of these points (asyncpg #467
 * and #955, psycopg #509 and #1275, r2dbc-pool #143, effect's own `Pool` and `Semaphore`).
 *
 * So each path is run again and again, interrupted at operation 0, 1, 2, … of all the fibers that take part, until it
 * runs through. After each: nothing is lent, nobody waits, the next borrower is served, and what was opened is either in
 * the pool or closed.
 */
import { Cause, Effect, Exit, type Fiber, FiberId, Scope } from "effect"
import type { Scheduler } from "effect/Scheduler"
import { describe, expect, it } from "vitest"
import * as Pool from "../src/Pool.ts"
import type * as PoolOptions from "../src/PoolOptions.ts"

/** Runs fibers by hand, counts every operation of each, and interrupts one of them at the chosen operation. */
class Sweep implements Scheduler {
  operations = 0
  /** Interrupted at operation `at`, counted from when it was set. */
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

  /** Until the condition holds, or else until nothing is left to do. */
  flush(condition = () => false): void {
    while (this.tasks.length > 0 && !condition()) this.next()
  }

  private next(): void {
    const task = this.newestFirst ? this.tasks.pop() : this.tasks.shift()
    task!()
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

interface Resource {
  open: boolean
}

interface World {
  readonly sweep: Sweep
  readonly opened: Array<Resource>
  readonly pool: Pool.Pool<Resource>
}

interface Path {
  /** Somebody holds all there is when the borrower comes. */
  readonly queues?: true
  readonly options?: Partial<PoolOptions.Options<Resource, never, Scope.Scope>>
  /** What other fibers do before and beside the borrower. */
  readonly beside?: (world: World) => ReadonlyArray<Effect.Effect<unknown, unknown>>
  readonly after?: (world: World) => ReadonlyArray<Effect.Effect<unknown, unknown>>
}

const some = Effect.yieldNow().pipe(Effect.repeatN(2))

const paths: Record<string, Path> = {
  "an idle resource is at hand": {
    beside: ({ pool }) => [pool.use(() => Effect.void)]
  },
  "a resource has to be opened": {},
  "it has to queue": {
    queues: true,
    options: { max: 1 },
    beside: ({ pool }) => [pool.use(() => some)]
  },
  "it has to queue before another": {
    queues: true,
    options: { max: 1 },
    beside: ({ pool }) => [pool.use(() => some)],
    after: ({ pool }) => [pool.use(() => some)]
  },
  "an idle resource has to be checked": {
    options: { check: () => some, checkAfter: 0 },
    beside: ({ pool }) => [pool.use(() => Effect.void)]
  },
  "an idle resource fails its check": {
    options: { max: 1, check: (resource) => some.pipe(Effect.andThen(Effect.fail(resource))), checkAfter: 0 },
    beside: ({ pool }) => [pool.use(() => Effect.void)]
  },
  "a hook runs first": {
    options: { max: 1, onAcquire: () => some },
    beside: ({ pool }) => [pool.use(() => Effect.void)]
  },
  "a resource has to be reset": {
    options: { max: 1, recycler: () => Effect.as(some, { _tag: "Keep" }) },
    beside: ({ pool }) => [pool.use(() => Effect.void)]
  }
}

const forms: Record<string, (pool: Pool.Pool<Resource>) => Effect.Effect<unknown, unknown>> = {
  use: (pool) => pool.use((resource) => Effect.andThen(some, expectOpen(resource))),
  useMask: (pool) => pool.useMask((resource, restore) => Effect.andThen(restore(some), expectOpen(resource))),
  get: (pool) => Effect.scoped(Effect.flatMap(pool.get, (resource) => Effect.andThen(some, expectOpen(resource))))
}

const expectOpen = (resource: Resource) => Effect.sync(() => expect(resource.open).toBe(true))

const options = (opened: Array<Resource>): PoolOptions.Options<Resource, never, Scope.Scope> => ({
  acquire: Effect.acquireRelease(
    Effect.andThen(
      some,
      Effect.sync(() => {
        const resource = { open: true }
        opened.push(resource)
        return resource
      })
    ),
    (resource) =>
      Effect.andThen(
        some,
        Effect.sync(() => {
          expect(resource.open).toBe(true)
          resource.open = false
        })
      )
  ),
  max: 2,
  start: "lazy"
})

const build = (path: Path, at: number, newestFirst: boolean) => {
  const sweep = new Sweep(at, newestFirst)
  const opened: Array<Resource> = []
  const scope = Effect.runSync(Scope.make())
  const made = sweep.now(Scope.extend(Pool.make({ ...options(opened), ...path.options }), scope))
  const pool = Exit.getOrElse(made, () => expect.fail("not made"))
  return { world: { sweep, opened, pool }, scope }
}

/** How many operations there were to interrupt. */
const sweepThrough = (path: Path, form: (typeof forms)[string], newestFirst: boolean): number => {
  for (let at = 0; ; at++) {
    const { scope, world } = build(path, at, newestFirst)
    const { opened, pool, sweep } = world
    // What is beside runs first as far as it gets: an idle resource is there, or a holder holds one.
    const beside = (path.beside?.(world) ?? []).map((effect) => sweep.run(effect))
    sweep.flush(() => path.queues === true && pool.unsafeStats().leased === 1)
    const target = sweep.run(form(pool))
    sweep.target = target
    const after = (path.after?.(world) ?? []).map((effect) => sweep.run(effect))
    sweep.flush()
    sweep.target = undefined

    const exit = target.unsafePoll()
    if (exit === null) expect.fail(`interrupted at ${at}: the borrower never ended`)
    if (Exit.isFailure(exit)) expect(Cause.isInterruptedOnly(exit.cause), Cause.pretty(exit.cause)).toBe(true)
    for (const fiber of [...beside, ...after]) expect(fiber.unsafePoll()?._tag, `interrupted at ${at}`).toBe("Success")

    const { leased, total, waiting } = pool.unsafeStats()
    expect({ at, leased, waiting }).toEqual({ at, leased: 0, waiting: 0 })
    expect(opened.filter((resource) => resource.open)).toHaveLength(total)
    expect(sweep.now(pool.use(expectOpen))._tag).toBe("Success")
    expect(sweep.now(Effect.scoped(Effect.flatMap(pool.get, expectOpen)))._tag).toBe("Success")
    expect(sweep.now(Scope.close(scope, Exit.void))._tag).toBe("Success")
    expect(opened.some((resource) => resource.open)).toBe(false)
    if (Exit.isSuccess(exit) && sweep.operations <= at) return at
  }
}

describe.each(Object.keys(forms))("%s can be interrupted at every operation", (form) => {
  describe.each([
    ["fibers go on in turn", false],
    ["the newest fiber goes first", true]
  ] as const)("when %s", (_, newestFirst) => {
    it.each(Object.keys(paths))("and %s", (name) => {
      const operations = sweepThrough(paths[name]!, forms[form]!, newestFirst)
      expect(operations).toBeGreaterThan(10)
    })
  })
})
