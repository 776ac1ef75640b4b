/**
 * Faults of the interpreter, found by review and by the sweep, each as the least that shows it.
 */
import { expect, it } from "@effect/vitest"
import { Effect } from "effect"
import { hold, Server } from "./server.ts"

it.scoped("a connect that is given up before its fiber has begun is over at once", () =>
  Effect.gen(function* () {
    const pool = yield* new Server().pool()
    yield* hold(pool)
    // The borrower runs, its connect is forked, and the drain comes before that fiber's first step.
    yield* Effect.yieldNow()
    expect(pool.unsafeStats().connecting).toBe(1)
    yield* pool.drain(0)
    expect(pool.unsafeStats().total).toBe(0)
  })
)
