/**
 * How long it takes until everybody has been served who waits for the one slot that there is.
 */
import { Pool } from "@checkpool/pool"
import { Effect, Pool as EffectPool, Exit, Scope } from "effect"

type Lender = Effect.Effect<unknown, unknown, Scope.Scope>

export const ours = Effect.map(Pool.make({ acquire: Effect.void, max: 1 }), (pool): Lender => pool.get)

export const v3 = Effect.map(EffectPool.make({ acquire: Effect.void, size: 1 }), (pool): Lender => pool.get)

/** In milliseconds. */
export const drain = (lender: Lender, waiters: number): Effect.Effect<number, unknown> =>
  Effect.gen(function* () {
    const holder = yield* Scope.make()
    yield* Scope.extend(lender, holder)
    const all = yield* Effect.fork(
      Effect.forEach(Array.from({ length: waiters }), () => Effect.scoped(lender), {
        concurrency: "unbounded",
        discard: true
      })
    )
    // Long enough for all of them to ask before the first is served.
    yield* Effect.sleep("1 second")
    const began = performance.now()
    yield* Scope.close(holder, Exit.void)
    yield* all.await
    return performance.now() - began
  })
