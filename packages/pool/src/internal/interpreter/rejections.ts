/**
 * From the state's plain rejections to the errors that callers get.
 */
import type { PoolError } from "../../PoolError.ts"
import { AcquireTimeout, NestedAcquire, PoolClosed, PoolSaturated, PoolUnavailable } from "../../PoolError.ts"
import type { Rejection } from "../state/rejection.ts"
import * as Slot from "../state/slot.ts"
import type { State } from "../state/state.ts"

/** @internal */
export const toError = <A>(state: State<A>, now: number, rejection: Rejection): PoolError => {
  const { config, counts, max, trouble, waiters } = state
  const pool = config.name
  switch (rejection._tag) {
    case "Closed":
      return new PoolClosed({ pool, since: now - state.closesSince })
    case "Nested":
      return new NestedAcquire({ pool, held: rejection.held, max })
    case "Saturated": {
      const { oldestWait, retryAfter } = rejection
      return new PoolSaturated({ pool, waiting: waiters.size, max, oldestWait, retryAfter })
    }
    case "Timeout":
      return new AcquireTimeout({
        pool,
        waited: rejection.waited,
        waiting: waiters.size,
        oldestWait: state.oldestWait(now),
        max,
        leased: counts[Slot.Leased],
        connecting: counts[Slot.Connecting],
        cause: trouble?.error
      })
    case "Unavailable": {
      const { error, failures, nextAttempt, since } = rejection.trouble
      const nextProbe = Math.max(nextAttempt - now, 0)
      return new PoolUnavailable({ pool, cause: error, since: now - since, failures, nextProbe })
    }
  }
}
