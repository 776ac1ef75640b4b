/**
 * What happened in a pool, with its reason. The one source for metrics, logs and tests.
 *
 * Borrowing and giving back are not events (they are far too many): they are counted in `PoolStats` and timed by the
 * pool's `observer`.
 *
 * @since 0.1.0
 */
import * as Data from "effect/Data"

/**
 * Why a resource was closed.
 *
 * - `idle`: unused for the idle timeout while more than the minimum were open
 * - `lifetime`: reached its lifetime
 * - `maxUses`: was lent as often as allowed
 * - `expired`: belongs to a generation that `expire` ended
 * - `invalidated`: a user called `invalidate`; `detail` of the event is what it was given as the reason
 * - `recycled`: the recycler asked for it; `detail` of the event says why
 * - `checkFailed` / `checkTimedOut`: did not pass the check after a silence
 * - `resetFailed` / `resetTimedOut`: could not be made ready for the next borrower
 * - `hookFailed`: the hook that runs before it is lent did not succeed
 * - `resized`: the maximum was lowered
 * - `drained`: the pool closes
 * - `forced`: still lent when the grace of a drain ended
 * - `abandoned`: opening it took longer than the connect timeout
 *
 * @category models
 * @since 0.1.0
 */
export type CloseReason =
  | "idle"
  | "lifetime"
  | "maxUses"
  | "expired"
  | "invalidated"
  | "recycled"
  | "checkFailed"
  | "checkTimedOut"
  | "resetFailed"
  | "resetTimedOut"
  | "hookFailed"
  | "resized"
  | "drained"
  | "forced"
  | "abandoned"

/**
 * An event of one pool. Durations are in milliseconds; `id` counts the pool's resources from 1.
 *
 * @category models
 * @since 0.1.0
 */
export type PoolEvent = Data.TaggedEnum<{
  /** A resource was opened. */
  Opened: { readonly pool: string; readonly id: number; readonly took: number; readonly total: number }
  /** Opening failed (`failures` in a row); the next attempt is made in `retryIn` if there is need. */
  ConnectFailed: {
    readonly pool: string
    readonly error: unknown
    readonly failures: number
    readonly retryIn: number
  }
  /** The other side has no more at present: the pool carries on with what it holds and tries again in `retryIn`. */
  AtCapacity: { readonly pool: string; readonly error: unknown; readonly total: number; readonly retryIn: number }
  /** A resource was closed; `timedOut` when closing did not end in time and its slot was given back all the same. */
  Closed: {
    readonly pool: string
    readonly id: number
    readonly reason: CloseReason
    readonly detail: unknown
    readonly age: number
    readonly uses: number
    readonly timedOut: boolean
  }
  /** The bound of callers was reached: callers are turned away from now on. */
  Saturated: { readonly pool: string; readonly waiting: number; readonly oldestWait: number }
  /** The queue has emptied again after `Saturated`; `rejected` callers were turned away in between. */
  Relieved: { readonly pool: string; readonly rejected: number; readonly lasted: number }
  /** A caller gave up at its deadline. */
  AcquireTimedOut: { readonly pool: string; readonly waited: number; readonly waiting: number }
  /** Nothing can be opened and nothing is open: callers fail at once from now on. */
  Unavailable: { readonly pool: string; readonly error: unknown; readonly lasted: number }
  /** Opening succeeded again after `Unavailable`. */
  Available: { readonly pool: string; readonly lasted: number }
  /** A lease is held for longer than `leakAfter`; `holder` names the span of its fiber, where it has one. */
  LeakSuspected: {
    readonly pool: string
    readonly id: number
    readonly held: number
    readonly holder: string | undefined
  }
  /** Bounds were changed. */
  Resized: { readonly pool: string; readonly min: number; readonly max: number }
  /** The pool closes: no caller is admitted any more. */
  Draining: { readonly pool: string; readonly leased: number; readonly grace: number }
  /** Every slot was given back; the pool is closed. */
  Drained: { readonly pool: string; readonly forced: number }
}>

/**
 * Constructors and matchers: `PoolEvent.$match`, `PoolEvent.$is`.
 *
 * @category constructors
 * @since 0.1.0
 */
export const PoolEvent = Data.taggedEnum<PoolEvent>()
