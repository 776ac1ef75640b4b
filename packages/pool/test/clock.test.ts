/**
 * Law 21: the wall clock may jump, by the hand of an administrator or of NTP: nothing changes. In HikariCP (#354, #559)
 * a jump closed every connection, or none any more.
 */
import { expect, it } from "@effect/vitest"
import { Clock, Effect, Fiber, Random, TestClock } from "effect"
import { hold, Server } from "./server.ts"

const hour = 3_600_000

/** What happens, and when on the monotonic clock, while the wall clock is set to `jump` ms off after each second. */
const history = (jump: (second: number) => number) =>
  Effect.gen(function* () {
    const clock = yield* Effect.clock
    let offset = 0
    const jumping: Clock.Clock = {
      [Clock.ClockTypeId]: Clock.ClockTypeId,
      unsafeCurrentTimeMillis: () => clock.unsafeCurrentTimeMillis() + offset,
      unsafeCurrentTimeNanos: () => clock.unsafeCurrentTimeNanos(),
      currentTimeMillis: Effect.map(clock.currentTimeMillis, (millis) => millis + offset),
      currentTimeNanos: clock.currentTimeNanos,
      sleep: (duration) => clock.sleep(duration)
    }
    const told: Array<string> = []
    const note = (what: string) => told.push(`${clock.unsafeCurrentTimeMillis()} ms: ${what}`)
    const run = Effect.gen(function* () {
      const pool = yield* new Server().pool({
        max: 2,
        min: 1,
        acquireTimeout: "2 seconds",
        idleTimeout: "4 seconds",
        lifetime: "20 seconds",
        leakAfter: "3 seconds",
        checkAfter: "1 second",
        check: () => Effect.sync(() => note("check")),
        observer: {
          acquired: (millis) => note(`waited ${millis}`),
          released: (millis) => note(`used ${millis}`),
          event: (event) => note(JSON.stringify(event, (key, value) => (key === "holder" ? undefined : value)))
        },
        name: "clock"
      })
      yield* hold(pool, Effect.sleep("5 seconds"))
      yield* hold(pool, Effect.sleep("6 seconds"))
      const waiter = yield* Effect.fork(Effect.flip(pool.use(() => Effect.void)))
      for (let second = 0; second < 60; second++) {
        offset = jump(second)
        yield* Effect.withClock(TestClock.adjust("1 second"), clock)
        if (second % 10 === 9) yield* Effect.fork(pool.use(() => Effect.void))
      }
      note((yield* Fiber.join(waiter)).message)
    })
    yield* Effect.withClock(Effect.scoped(run), jumping)
    return told
  }).pipe(Effect.withRandom(Random.make("clock")), Effect.provide(TestClock.defaultTestClock))

it.effect.each([
  ["forward", () => hour],
  ["back", () => -hour],
  ["back and forth", (second: number) => (second % 2 === 0 ? hour : -hour)]
] as const)("the wall clock may jump an hour %s: nothing changes", ([, jump]) =>
  Effect.gen(function* () {
    const undisturbed = yield* history(() => 0)
    expect(undisturbed.length).toBeGreaterThan(20)
    expect(yield* history(jump)).toEqual(undisturbed)
  })
)
