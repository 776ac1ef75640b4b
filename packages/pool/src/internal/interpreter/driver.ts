/**
 * What the pool's user has given to it: how to open, check, clean and judge a resource, and who wants to know.
 */
import type * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { Observer } from "../../PoolOptions.ts"
import type { Recycler } from "../../Recycler.ts"
import type { Config } from "../state/config.ts"
import type { ConnectFailure } from "../state/outage.ts"

/** @internal */
export interface Driver<A, E, R> {
  readonly config: Config
  readonly acquire: Effect.Effect<A, E, R | Scope.Scope>
  readonly check: ((resource: A) => Effect.Effect<unknown, unknown>) | undefined
  readonly onAcquire: ((resource: A) => Effect.Effect<unknown, unknown>) | undefined
  readonly recycler: Recycler<A> | undefined
  readonly classify: ((error: E) => ConnectFailure["kind"]) | undefined
  readonly observer: Observer | undefined
}
