import { describe, expect, it } from "@effect/vitest"
import { Cause, Context, Deferred, Effect, Exit, Fiber, FiberRef, Option, Scope, TestClock, Tracer } from "effect"
import * as Lanes from "../src/internal/lanes/lanes.ts"
import type { Kind } from "../src/internal/lanes/state.ts"

class Failure {
  readonly _tag = "Failure"
  readonly kind: Kind
  constructor(kind: Kind) {
    this.kind = kind
  }
}

/** Flushes that end when the test says so; the lanes have to close by themselves when the test is over. */
const make = (given: Partial<Lanes.Options<string, Failure>> = {}) =>
  Effect.flatMap(
    Effect.acquireRelease(Scope.make(), (scope) =>
      Effect.flatMap(Effect.forkDaemon(Effect.interruptible(Scope.close(scope, Exit.void))), join)
    ),
    (scope) => Scope.extend(open(given), scope)
  )

/** The same in the scope at hand. */
const open = (given: Partial<Lanes.Options<string, Failure>> = {}) =>
  Effect.gen(function* () {
    const sent: Array<{ readonly items: ReadonlyArray<string>; readonly end: Deferred.Deferred<void, Failure> }> = []
    const lanes = yield* Lanes.make<string, Failure>({
      flush: (items) =>
        Effect.flatMap(Deferred.make<void, Failure>(), (end) => {
          sent.push({ items, end })
          return Deferred.await(end)
        }),
      kindOf: ({ kind }) => kind,
      timeout: "10 seconds",
      grace: 0,
      maxInFlight: 3,
      maxBatch: 16,
      maxBatchBytes: 1000,
      maxQueued: 100,
      maxQueuedBytes: 10_000,
      maxConflicts: 5,
      retryBase: 100,
      retryCap: 1000,
      ...given
    })
    const submit = (item: string, operation: Partial<Parameters<typeof lanes.submit>[0]> = {}, timeout?: number) =>
      lanes.submit({ item, thread: item, bytes: 1, repeatable: true, barrier: false, ...operation }, timeout)
    const ended = (n: number, exit: Exit.Exit<void, Failure> = Exit.void) =>
      Effect.zipRight(
        until(() => sent.length > n),
        Effect.suspend(() => Deferred.done(sent[n]!.end, exit))
      )
    return { lanes, sent, submit, ended }
  })

/** Lets the others run until it holds. */
const until = (condition: () => boolean) =>
  Effect.gen(function* () {
    for (let i = 0; !condition(); i++) {
      if (i === 1000) throw new Error(`never: ${condition}`)
      yield* Effect.yieldNow()
    }
  })

/** What a fiber gives that has to end without anybody's help: one that never does fails the test at once. */
const join = <A, E>(fiber: Fiber.RuntimeFiber<A, E>) =>
  Effect.zipRight(
    until(() => fiber.unsafePoll() !== null),
    Fiber.join(fiber)
  )

const items = (sent: ReadonlyArray<{ readonly items: ReadonlyArray<string> }>) =>
  sent.map(({ items }) => items.join(""))

const why = (exit: Exit.Exit<unknown, Failure | Lanes.NotServed>) =>
  Exit.isSuccess(exit) ? undefined : Option.getOrUndefined(Cause.failureOption(exit.cause))

// None of it takes time, so what is broken need not be waited for long.
describe("lanes", { timeout: 10_000 }, () => {
  it.scoped("send a lone operation at once, and succeed once it is committed", () =>
    Effect.gen(function* () {
      const { ended, sent, submit } = yield* make()
      const caller = yield* Effect.fork(submit("a"))
      yield* until(() => sent.length === 1)
      expect(caller.unsafePoll()).toBe(null)
      yield* ended(0)
      expect(yield* join(caller)).toBe(1)
    })
  )

  it.scoped("share what is asked for at the same time evenly, but not so that fewer than eight go together", () =>
    Effect.gen(function* () {
      const { ended, sent, submit } = yield* make()
      const start = (items: string) =>
        Effect.fork(Effect.forEach([...items], (item) => submit(item), { concurrency: "unbounded" }))
      const many = yield* start("abcdefghijklmnopqrstuvwxyz")
      yield* until(() => sent.length === 3)
      expect(items(sent)).toEqual(["abcdefghi", "jklmnopqr", "stuvwxyz"])
      yield* Effect.forEach([2, 0, 1], (n) => ended(n))
      expect(yield* join(many)).toEqual([...Array(18).fill(9), ...Array(8).fill(8)])
      const few = yield* start("0123456789")
      yield* ended(3)
      expect(yield* join(few)).toEqual(Array(10).fill(10))
      expect(sent.length).toBe(4)
    })
  )

  it.scoped("take together what has queued up meanwhile, and never two flushes of one thread", () =>
    Effect.gen(function* () {
      const { ended, lanes, sent, submit } = yield* make({ maxInFlight: 2 })
      const start = (item: string, thread = item) => Effect.fork(submit(item, { thread }))
      yield* start("a", "1")
      yield* until(() => sent.length === 1)
      yield* start("b", "1")
      yield* start("c", "2")
      yield* until(() => sent.length === 2)
      yield* start("d", "3")
      const last = yield* start("e", "1")
      yield* until(() => lanes.stats().queued === 3)
      expect(lanes.stats()).toMatchObject({ inFlight: 2, queued: 3, queuedBytes: 3 })
      yield* ended(1)
      yield* until(() => sent.length === 3)
      yield* ended(0)
      yield* ended(3)
      expect(yield* join(last)).toBe(2)
      expect(items(sent)).toEqual(["a", "c", "d", "be"])
      expect(lanes.stats()).toMatchObject({ flushes: 4, flushed: 5, largest: 2, queued: 0 })
    })
  )

  it.scoped("run a barrier alone between what came before and after in its thread", () =>
    Effect.gen(function* () {
      const { ended, sent, submit } = yield* make()
      const thread = "1"
      yield* Effect.fork(submit("a", { thread }))
      yield* Effect.fork(submit("|", { thread, barrier: true }))
      yield* Effect.fork(submit("b", { thread }))
      yield* Effect.fork(submit("x"))
      yield* Effect.forEach([0, 1, 2], (n) => ended(n))
      expect(items(sent)).toEqual(["ax", "|", "b"])
    })
  )

  it.scoped("let a bad operation fail alone", () =>
    Effect.gen(function* () {
      const { ended, lanes, sent, submit } = yield* make({ maxInFlight: 1 })
      const callers = yield* Effect.forEach([..."abc"], (item) =>
        Effect.fork(Effect.exit(submit(item, { thread: "1" })))
      )
      yield* ended(0, Exit.fail(new Failure("refused")))
      yield* ended(1)
      yield* ended(2, Exit.fail(new Failure("refused")))
      yield* ended(3)
      expect(items(sent)).toEqual(["abc", "a", "b", "c"])
      const exits = yield* Effect.forEach(callers, join)
      expect(exits.map(Exit.isSuccess)).toEqual([true, false, true])
      expect(why(exits[1]!)).toMatchObject({ kind: "refused" })
      expect(lanes.stats()).toMatchObject({ split: 1, retried: 3 })
    })
  )

  it.scoped("take a defect for a matter of the operations, too", () =>
    Effect.gen(function* () {
      const { ended, submit } = yield* make({ maxInFlight: 1 })
      const callers = yield* Effect.forEach([..."ab"], (item) => Effect.fork(Effect.exit(submit(item))))
      yield* ended(0, Exit.die("defect"))
      yield* ended(1, Exit.die("defect"))
      yield* ended(2)
      const exits = yield* Effect.forEach(callers, join)
      expect(exits).toEqual([Exit.die("defect"), Exit.succeed(1)])
    })
  )

  it.scoped("absorb saturation: the same operations go again after a pause, in their order", () =>
    Effect.gen(function* () {
      const { ended, lanes, sent, submit } = yield* make({ maxInFlight: 1 })
      const caller = yield* Effect.fork(
        Effect.forEach([..."ab"], (item) => submit(item, { thread: "1" }), { concurrency: 2 })
      )
      yield* ended(0, Exit.fail(new Failure("saturated")))
      yield* until(() => lanes.stats().queued === 2)
      yield* Effect.fork(submit("c", { thread: "1" }))
      yield* TestClock.adjust("49 millis")
      expect(sent.length).toBe(1)
      yield* TestClock.adjust("51 millis")
      yield* ended(1)
      expect(yield* join(caller)).toEqual([3, 3])
      expect(items(sent)).toEqual(["ab", "abc"])
    })
  )

  it.scoped("do not let a caller wait beyond its deadline, and say what was in the way", () =>
    Effect.gen(function* () {
      const { ended, lanes, submit } = yield* make({ maxInFlight: 1, retryBase: 60_000, retryCap: 60_000 })
      const patient = yield* Effect.fork(Effect.exit(submit("a")))
      const hasty = yield* Effect.fork(Effect.exit(submit("b", {}, 1000)))
      yield* ended(0, Exit.fail(new Failure("saturated")))
      yield* until(() => lanes.stats().queued === 2)
      const late = yield* Effect.fork(Effect.exit(submit("c", {}, 1000)))
      yield* until(() => lanes.stats().queued === 3)
      yield* TestClock.adjust("1 seconds")
      expect(why(yield* join(hasty))).toMatchObject({ why: { _tag: "Expired", waited: 1000 } })
      const { cause } = (why(yield* join(hasty)) as Lanes.NotServed).why as { cause: Cause.Cause<Failure> }
      expect(Option.getOrThrow(Cause.failureOption(cause)).kind).toBe("saturated")
      expect(why(yield* join(late))).toMatchObject({ why: { _tag: "Expired", cause: undefined } })
      expect(patient.unsafePoll()).toBe(null)
      yield* TestClock.adjust("9 seconds")
      expect(why(yield* join(patient))).toMatchObject({ why: { _tag: "Expired", waited: 10_000 } })
      expect(lanes.stats()).toMatchObject({ expired: 3, queued: 0, queuedBytes: 0 })
    })
  )

  it.scoped("refuse at once what there is no room for", () =>
    Effect.gen(function* () {
      const { lanes, sent, submit } = yield* make({ maxInFlight: 1, maxQueued: 2, maxQueuedBytes: 10 })
      yield* Effect.fork(submit("a"))
      yield* until(() => sent.length === 1)
      yield* Effect.fork(submit("b", { bytes: 8 }))
      yield* until(() => lanes.stats().queued === 1)
      expect(why(yield* Effect.exit(submit("c", { bytes: 3 })))).toMatchObject({ why: { _tag: "Full", by: "bytes" } })
      yield* Effect.fork(submit("d"))
      yield* until(() => lanes.stats().queued === 2)
      expect(why(yield* Effect.exit(submit("e")))).toMatchObject({ why: { _tag: "Full", by: "count" } })
      expect(lanes.stats().full).toBe(2)
    })
  )

  it.scoped("go on with what is in flight when its caller is interrupted, and drop what is queued", () =>
    Effect.gen(function* () {
      const { ended, sent, submit } = yield* make({ maxInFlight: 1 })
      const [gone, stays] = yield* Effect.forEach([..."ab"], (item) => Effect.fork(Effect.exit(submit(item))))
      yield* until(() => sent.length === 1)
      const queued = yield* Effect.fork(submit("c"))
      const after = yield* Effect.fork(submit("d"))
      yield* Effect.yieldNow()
      yield* Fiber.interrupt(gone!)
      yield* Fiber.interrupt(queued)
      yield* ended(0)
      yield* ended(1)
      expect(yield* join(stays!)).toEqual(Exit.succeed(2))
      expect(yield* join(after)).toBe(1)
      expect(items(sent)).toEqual(["ab", "d"])
    })
  )

  it.scoped("run flushes outside of whatever their callers and their maker are in", () =>
    Effect.gen(function* () {
      class Tag extends Context.Tag("Tag")<Tag, string>() {}
      const ref = FiberRef.unsafeMake("maker")
      const seen: Array<unknown> = []
      const lanes = yield* Lanes.make<string, never>({
        flush: () =>
          Effect.all([Effect.context<never>(), FiberRef.get(ref)]).pipe(
            Effect.tap(([context, value]) => {
              seen.push(value, Context.getOption(context, Tag), Context.getOption(context, Tracer.ParentSpan))
            })
          ),
        kindOf: () => "refused",
        timeout: "10 seconds",
        grace: "5 seconds",
        maxInFlight: 3,
        maxBatch: 16,
        maxBatchBytes: 1000,
        maxQueued: 100,
        maxQueuedBytes: 10_000,
        maxConflicts: 5,
        retryBase: 100,
        retryCap: 1000
      }).pipe(Effect.withSpan("maker"), Effect.provideService(Tag, "maker"))
      yield* lanes
        .submit({ item: "a", thread: "a", bytes: 1, repeatable: true, barrier: false })
        .pipe(Effect.withSpan("caller"), Effect.provideService(Tag, "caller"), Effect.locally(ref, "caller"))
      expect(seen).toEqual(["maker", Option.none(), Option.none()])
    })
  )

  it.effect("flush what is queued before their scope has closed, and admit nothing new", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const { ended, sent, submit } = yield* Scope.extend(open({ maxInFlight: 1, grace: "5 seconds" }), scope)
      const callers = yield* Effect.forEach([..."ab"], (item) => Effect.fork(submit(item, { thread: "1" })))
      yield* until(() => sent.length === 1)
      callers.push(yield* Effect.fork(submit("c")))
      yield* Effect.yieldNow()
      const closing = yield* Effect.fork(Scope.close(scope, Exit.void))
      yield* Effect.yieldNow()
      expect(why(yield* Effect.exit(submit("d")))).toMatchObject({ why: { _tag: "Closed" } })
      yield* ended(0)
      expect(closing.unsafePoll()).toBe(null)
      yield* ended(1)
      expect(yield* Effect.forEach(callers, join)).toEqual([2, 2, 1])
      yield* join(closing)
    })
  )

  it.effect("take back what is not done within the grace of their scope's end", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const { sent, submit } = yield* Scope.extend(open({ maxInFlight: 1, grace: "5 seconds" }), scope)
      const callers = [yield* Effect.fork(Effect.exit(submit("a")))]
      yield* until(() => sent.length === 1)
      callers.push(yield* Effect.fork(Effect.exit(submit("b"))))
      yield* Effect.yieldNow()
      const closing = yield* Effect.fork(Scope.close(scope, Exit.void))
      yield* TestClock.adjust("4999 millis")
      expect(closing.unsafePoll()).toBe(null)
      yield* TestClock.adjust("1 millis")
      yield* join(closing)
      for (const caller of callers) expect(why(yield* join(caller))).toMatchObject({ why: { _tag: "Closed" } })
      expect(items(sent)).toEqual(["a"])
    })
  )
})
