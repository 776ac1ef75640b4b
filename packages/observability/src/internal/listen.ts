/**
 * The events of a pool, from now on.
 */
import type { PoolEvent } from "@checkpool/pool/PoolEvent"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { AnyPool } from "../Pools.ts"

/**
 * Hears what happens until the scope closes; runs `ended` when the pool's events end before, at once for a pool that was
 * closed already.
 *
 * A stream begins to listen some turns of the scheduler after its fiber was forked: two, with this one. It is given more
 * than that before this returns, so that nothing is missed from then on.
 *
 * @internal
 */
export const listen = (
  pool: AnyPool,
  hear: (event: PoolEvent) => Effect.Effect<void>,
  ended: Effect.Effect<void> = Effect.void
): Effect.Effect<void, never, Scope.Scope> =>
  Stream.runForEach(pool.events, hear).pipe(
    Effect.zipRight(ended),
    Effect.interruptible,
    Effect.forkScoped,
    Effect.zipRight(Effect.repeatN(Effect.yieldNow(), 9))
  )
