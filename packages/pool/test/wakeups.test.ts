/**
 * Law 6: one wake-up for each release. In effect's own `Pool` each release wakes all who wait, so that 2,000 waiters on
 * one slot take 42 s; here they are counted, not timed.
 */
import { expect, it } from "@effect/vitest"
import { type Context, Effect, Exit, Fiber, Scope, Supervisor } from "effect"
import { Server, settle } from "./server.ts"

/** Counts how often fibers go on after they were suspended. */
class WakeUps extends Supervisor.AbstractSupervisor<void> {
  count = 0
  override readonly value = Effect.void
  override onStart(_: Context.Context<never>): void {}
  override onResume(): void {
    this.count++
  }
}

const n = 2_000

it.scopedLive("2,000 waiters on one slot take 2,000 wake-ups, and are served in order", () =>
  Effect.gen(function* () {
    const pool = yield* new Server().pool({ max: 1 })
    const scope = yield* Scope.make()
    yield* Scope.extend(pool.get, scope)
    const served: Array<number> = []
    const wakeUps = new WakeUps()
    const waiters = yield* Effect.forEach(Array.from({ length: n }), (_, i) =>
      Effect.fork(pool.use(() => Effect.sync(() => served.push(i))))
    ).pipe(Effect.supervised(wakeUps))
    yield* settle
    expect(pool.unsafeStats().waiting).toBe(n)
    wakeUps.count = 0
    yield* Scope.close(scope, Exit.void)
    yield* Effect.forEach(waiters, Fiber.join)
    expect(wakeUps.count).toBe(n)
    expect(served).toEqual(Array.from({ length: n }, (_, i) => i))
  })
)
