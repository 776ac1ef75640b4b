/** How a lease is asked for, kept and given back, on a store that answers as it is told to. */
import { CheckpointError, ThreadLock } from "@checkpool/checkpoint"
import { expect, it } from "@effect/vitest"
import { Cause, Clock, Deferred, Effect, Exit, Fiber, Logger, LogLevel, Metric, Option, TestClock } from "effect"
import * as Hold from "../src/internal/lease/hold.ts"
import type { Answer, LeaseStore } from "../src/internal/lease/lease.ts"
import { recorder } from "./spans.ts"

const failure = (code = "ECONNRESET") =>
  new CheckpointError.CheckpointerError({
    operation: "withThreadLock",
    cause: Object.assign(new Error(`read ${code}`), { code })
  })

const taken: Answer = { _tag: "Taken", token: 7 }
const elsewhere: Answer = { _tag: "Held", holder: "the other", expiresIn: 30_000 }

/** It notes when it was asked what, in seconds. */
const fake = (answers: Partial<LeaseStore<CheckpointError.CheckpointerError>> = {}) => {
  const asked: Record<keyof LeaseStore<unknown>, Array<number>> = { take: [], renew: [], release: [] }
  const noting = <A, E>(name: keyof typeof asked, answer: () => Effect.Effect<A, E>) =>
    Effect.flatMap(Clock.currentTimeMillis, (now) => {
      asked[name].push(now / 1000)
      return answer()
    })
  const store: LeaseStore<CheckpointError.CheckpointerError> = {
    take: (claim) => noting("take", () => answers.take?.(claim) ?? Effect.succeed(taken)),
    renew: (claim) => noting("renew", () => answers.renew?.(claim) ?? Effect.succeed(true)),
    release: (claim) => noting("release", () => answers.release?.(claim) ?? Effect.void)
  }
  return { asked, ...Hold.toService(store) }
}

/** Failures that a test brings about are nothing to tell of. */
const silently = Logger.withMinimumLogLevel(LogLevel.None)

const errorOf = <A, E>(exit: Exit.Exit<A, E>) =>
  Exit.isFailure(exit) ? Option.getOrUndefined(Cause.failureOption(exit.cause)) : undefined

it.effect("a lease is renewed each third of it, and no more once its effect has ended", () =>
  Effect.gen(function* () {
    const { asked, withThreadLock } = fake()
    const end = yield* Deferred.make<void>()
    const fiber = yield* Effect.fork(withThreadLock("t", Deferred.await(end)))
    yield* TestClock.adjust("35 seconds")
    yield* Deferred.succeed(end, undefined)
    yield* Fiber.join(fiber)
    yield* TestClock.adjust("1 minute")
    expect(asked).toEqual({ take: [0], renew: [10, 20, 30], release: [35] })
  })
)

it.effect("a renewal that fails is tried again; when the lease would be over its effect is interrupted", () =>
  Effect.gen(function* () {
    const { asked, withThreadLock } = fake({
      renew: () => (asked.renew.length === 1 ? Effect.delay(Effect.succeed(true), "2 seconds") : failure())
    })
    let finalizedAt = 0
    const body = Effect.onInterrupt(Effect.never, () =>
      Effect.map(Clock.currentTimeMillis, (now) => {
        finalizedAt = now / 1000
      })
    )
    const fiber = yield* Effect.fork(silently(withThreadLock("t", body)))
    yield* TestClock.adjust("1 minute")
    // It was asked for at 10 for the last time with success, so it lasts for 30 from then on at least, and not from the answer.
    expect(finalizedAt).toBe(40)
    expect(asked.renew).toEqual([10, 22, 24.5, 27, 29.5, 32, 34.5, 37, 39.5, 40])
    const error = errorOf(yield* Fiber.await(fiber))
    expect(error).toMatchObject({ _tag: "LeaseLost", threadId: "t", token: 7, reason: "NotRenewed", age: 40_000 })
    expect(error?.message).toContain("read ECONNRESET")
    // Somebody else has it, or it ends by itself.
    expect(asked.release).toEqual([])
  })
)

it.effect("a renewal that hangs is given up in time for another one, and holds nobody up", () =>
  Effect.gen(function* () {
    const { asked, withThreadLock } = fake({
      // That takes its time, too, which counts.
      take: () => Effect.delay(Effect.succeed(taken), "3 seconds"),
      renew: () => Effect.uninterruptible(Effect.never)
    })
    const fiber = yield* Effect.fork(silently(withThreadLock("t", Effect.never)))
    yield* TestClock.adjust("29 seconds")
    expect(yield* Fiber.poll(fiber)).toEqual(Option.none())
    yield* TestClock.adjust("1 second")
    const error = errorOf(yield* Fiber.await(fiber))
    expect(error).toMatchObject({ reason: "NotRenewed", age: 30_000 })
    expect(error?.message).toContain("no answer within 4500 ms")
    expect(asked.renew).toEqual([13, 25.5])
  })
)

it.effect("who wakes up after its lease was over asks whether it still has it, and goes on", () =>
  Effect.gen(function* () {
    const { asked, withThreadLock } = fake()
    const end = yield* Deferred.make<string>()
    // Nothing has run for an hour, as on a computer that is asleep.
    let asleep = 0n
    const clock = yield* Effect.clock
    const late = Object.assign(Object.create(clock), {
      unsafeCurrentTimeNanos: () => clock.unsafeCurrentTimeNanos() + asleep
    })
    const fiber = yield* Effect.fork(Effect.withClock(withThreadLock("t", Deferred.await(end)), late))
    yield* TestClock.adjust("9 seconds")
    asleep = 3_600_000_000_000n
    yield* TestClock.adjust("10 seconds")
    expect(asked.renew).toEqual([10])
    yield* Deferred.succeed(end, "done")
    expect(yield* Fiber.join(fiber)).toBe("done")
  })
)

it.effect("a lease whose end hangs holds up the result for five seconds and no longer", () =>
  Effect.gen(function* () {
    for (const body of [Effect.succeed("done"), Effect.fail("no")]) {
      const { withThreadLock } = fake({ release: () => Effect.uninterruptible(Effect.never) })
      const fiber = yield* Effect.fork(Effect.exit(silently(withThreadLock("t", body))))
      yield* TestClock.adjust(4999)
      expect(yield* Fiber.poll(fiber)).toEqual(Option.none())
      yield* TestClock.adjust(1)
      expect(yield* Fiber.join(fiber)).toEqual(yield* Effect.exit(body))
    }
  })
)

it.effect("a lease that is not given back at once is given back a little later", () =>
  Effect.gen(function* () {
    const { asked, withThreadLock } = fake({ release: () => (asked.release.length < 3 ? failure() : Effect.void) })
    const fiber = yield* Effect.fork(withThreadLock("t", Effect.succeed("done")))
    yield* TestClock.adjust("1 second")
    expect(yield* Fiber.join(fiber)).toBe("done")
    expect(asked.release).toHaveLength(3)
  })
)

it.effect("who may wait asks again more and more seldom, and fails after that time and not before", () =>
  Effect.gen(function* () {
    const { asked, withThreadLock } = fake({ take: () => Effect.succeed(elsewhere) })
    const fiber = yield* Effect.fork(withThreadLock("t", Effect.void, { wait: "1 minute" }))
    yield* TestClock.adjust("59 seconds")
    expect(yield* Fiber.poll(fiber)).toEqual(Option.none())
    yield* TestClock.adjust("1 second")
    const error = errorOf(yield* Fiber.await(fiber))
    expect(error).toMatchObject({ _tag: "ThreadLocked", holder: "the other", expiresIn: 30_000, waited: 60_000 })
    expect(error?.message).toContain("60000 ms")
    expect(asked.take.length).toBeGreaterThan(50)
    expect(asked.take.length).toBeLessThan(150)
    expect(asked.release).toEqual([])
  })
)

it.effect("who waits is there as soon as the other's lease is over", () =>
  Effect.gen(function* () {
    const ends = 90_250
    const { asked, withThreadLock } = fake({
      take: () =>
        Effect.map(
          Clock.currentTimeMillis,
          (now): Answer => (now < ends ? { ...elsewhere, expiresIn: ends - now } : taken)
        )
    })
    const fiber = yield* Effect.fork(withThreadLock("t", Effect.void, { wait: Number.POSITIVE_INFINITY }))
    yield* TestClock.adjust("91 seconds")
    yield* Fiber.join(fiber)
    expect(asked.take.at(-1)).toBe(ends / 1000)
  })
)

it.effect("a connection that is lost is waited for as the lock is, by those who may wait", () =>
  Effect.gen(function* () {
    const flaky = () => fake({ take: () => failure() })
    const [none, some] = [flaky(), flaky()]
    expect(yield* Effect.flip(none.withThreadLock("t", Effect.void))).toMatchObject({ _tag: "CheckpointerError" })
    // It is unknown whether the lock was taken: then it is given back.
    expect([none.asked.take, none.asked.release]).toEqual([[0], [0]])
    const fiber = yield* Effect.fork(Effect.flip(some.withThreadLock("t", Effect.void, { wait: "2 seconds" })))
    yield* TestClock.adjust("2 seconds")
    expect(yield* Fiber.join(fiber)).toMatchObject({ _tag: "CheckpointerError" })
    expect(some.asked.take.length).toBeGreaterThan(2)
    const refused = fake({ take: () => failure("42501") })
    const error = yield* Effect.flip(refused.withThreadLock("t", Effect.void, { wait: "2 seconds" }))
    expect([error._tag, refused.asked.take]).toEqual(["CheckpointerError", [2]])
  }).pipe(silently)
)

it.effect("who is interrupted while the server answers gives back what it may have been given", () =>
  Effect.gen(function* () {
    const { asked, withThreadLock } = fake({ take: () => Effect.never })
    const fiber = yield* Effect.fork(withThreadLock("t", Effect.void))
    yield* Effect.yieldNow()
    yield* Fiber.interrupt(fiber)
    expect(asked).toMatchObject({ take: [0], release: [0] })
  })
)

it.effect("an effect sees the innermost lease, and none but its own checkpointer's is reused", () =>
  Effect.gen(function* () {
    const [one, other] = [fake(), fake({ take: () => Effect.succeed({ _tag: "Taken", token: 8 }) })]
    const tokens = Effect.gen(function* () {
      const outer = yield* ThreadLock.Lease
      return [outer.token, (yield* other.withThreadLock("t", ThreadLock.Lease)).token, (yield* ThreadLock.Lease).token]
    })
    expect(yield* one.withThreadLock("t", tokens)).toEqual([7, 8, 7])
    expect([one.asked.take, other.asked.take]).toEqual([[0], [0]])
  })
)

it.effect("spans and metrics tell how long the lock took, that it was refused, and that a lease was lost", () =>
  Effect.gen(function* () {
    const counts = () =>
      Object.fromEntries(
        Metric.unsafeSnapshot().flatMap(({ metricKey: { name, tags }, metricState }) => {
          const labels = tags.flatMap(({ key, value }) => (key === "unit" ? [] : [value])).join(" ")
          const { count = 0 } = metricState as { readonly count?: number | bigint }
          return labels.startsWith("withThreadLock") ? [[`${name} ${labels}`, Number(count)]] : []
        })
      )
    const before = counts()
    const { spans, tracer } = yield* recorder
    const lost = fake({ renew: () => Effect.succeed(false) }).withThreadLock("t", Effect.never)
    const locked = fake({ take: () => Effect.succeed(elsewhere) }).withThreadLock("t", Effect.void)
    const fiber = yield* Effect.fork(
      Effect.all([Effect.flip(locked), Effect.flip(lost)]).pipe(Effect.withSpan("parent"), Effect.withTracer(tracer))
    )
    yield* TestClock.adjust("10 seconds")
    yield* Fiber.join(fiber)
    // Renewals have none: that they go on says nothing of the one who is traced.
    expect(spans.map(({ name }) => name)).toEqual([
      "parent",
      "Checkpointer.withThreadLock",
      "Checkpointer.withThreadLock"
    ])
    expect(spans[1]!.attributes.get("checkpoint.thread_id")).toBe("t")
    const grown = Object.entries(counts()).map(([name, count]) => [name, count - (before[name] ?? 0)] as const)
    expect(Object.fromEntries(grown.filter(([, count]) => count > 0))).toEqual({
      "checkpoint.operation.duration withThreadLock": 1,
      "checkpoint.operation.errors withThreadLock LeaseLost": 1,
      "checkpoint.operation.errors withThreadLock ThreadLocked": 1
    })
  })
)
