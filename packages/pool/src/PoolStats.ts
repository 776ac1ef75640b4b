/**
 * A pool's numbers at one moment.
 *
 * @since 0.1.0
 */

/**
 * Counts of slots by state, of waiters, and totals since the pool was made. Durations are in milliseconds.
 *
 * `idle + leased + connecting + checking + resetting + closing = total`, and `total` never exceeds `max` but for a
 * moment after `resize` lowered it.
 *
 * @category models
 * @since 0.1.0
 */
export interface PoolStats {
  readonly name: string
  readonly min: number
  readonly max: number
  /** Slots taken, in whatever state. */
  readonly total: number
  readonly idle: number
  readonly leased: number
  readonly connecting: number
  readonly checking: number
  readonly resetting: number
  readonly closing: number
  readonly waiting: number
  /** How long the oldest waiter has been waiting; 0 when nobody waits. The best gauge of saturation. */
  readonly oldestWait: number
  /** Leases given since the start. */
  readonly acquired: number
  /** Leases of a resource that had been lent before. */
  readonly reused: number
  /** `reused / acquired`; 0 before the first lease. */
  readonly reuseRate: number
  /** Callers that had to wait, whatever became of them. */
  readonly queued: number
  readonly timedOut: number
  /** Callers turned away at once (saturated, unavailable, nested, closed), and out of the queue when an outage is found. */
  readonly rejected: number
  readonly opened: number
  readonly closed: number
  readonly connectFailures: number
  readonly leaksSuspected: number
  /** The other side refused more: the pool carries on with what it holds. */
  readonly atCapacity: boolean
  /** Nothing can be opened and nothing is open: callers fail at once. */
  readonly unavailable: boolean
}
