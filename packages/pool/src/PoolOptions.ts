/**
 * How a pool is made: what it keeps, how many of it, how long anything may take, and what it does with what comes back.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type { PoolEvent } from "./PoolEvent.ts"
import type { Recycler } from "./Recycler.ts"

/**
 * The options of `Pool.make` and `Pool.layer`. Durations without a unit are in milliseconds. All defaults are in
 * `defaults`.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options<A, E, R> {
  // -------------------------------------------------------------------------------------------------------------
  // Essentials: to be decided for each pool
  // -------------------------------------------------------------------------------------------------------------

  /**
   * Opens one resource; its scope closes it. What is interruptible in it is interrupted at the connect timeout. The pool
   * tells resources apart by identity: each has to be an object of its own.
   */
  readonly acquire: Effect.Effect<A, E, R>
  /**
   * How many resources may exist at once, counting those being opened and closed.
   *
   * Default: 10. More seldom make a server faster: it works on as many at once as it has cores and disks.
   */
  readonly max?: number | undefined
  /**
   * How many resources are kept open when nobody needs them.
   *
   * Default: 0. What is not used costs nothing; raise it where the first callers after a pause must not wait for a connect.
   */
  readonly min?: number | undefined
  /**
   * How long a caller waits at most, for everything together: queue, connects, retries, checks.
   *
   * Default: 10 seconds. Longer than a hiccup, shorter than the patience of whoever waits for the caller.
   */
  readonly acquireTimeout?: Duration.DurationInput | undefined

  // -------------------------------------------------------------------------------------------------------------
  // Frequent: for many pools the defaults do
  // -------------------------------------------------------------------------------------------------------------

  /**
   * The name that stats, events and errors carry.
   *
   * Default: `pool-1`, `pool-2`, …, unique in the process: two pools are never taken for one.
   */
  readonly name?: string | undefined
  /**
   * How many callers are admitted beyond `max`; the next one gets `PoolSaturated` at once.
   *
   * Default: 10,000, about 1 KB each. As many as ten resources serve within the acquire timeout, at 10 ms a use.
   */
  readonly maxWaiting?: number | undefined
  /**
   * Resources beyond `min` that were idle for so long are closed, those that were used longest ago first.
   *
   * Default: 5 minutes. Outlives the pauses within a load, gives back what a peak has opened.
   */
  readonly idleTimeout?: Duration.DurationInput | undefined
  /**
   * A resource of this age is closed when it is next idle.
   *
   * Default: 1 hour. Picks up changes of address, load balancer and server, and bounds what leaks on the other side.
   */
  readonly lifetime?: Duration.DurationInput | undefined
  /**
   * How many times a resource is lent before it is closed.
   *
   * Default: without limit. A limit helps only where the other side grows with each use.
   */
  readonly maxUses?: number | undefined
  /**
   * Proves that an idle resource still works, when it was silent for `checkAfter`. If it fails or hangs, the resource is
   * closed, and the caller gets another one.
   *
   * Default: not checked. The pool can't know how.
   */
  readonly check?: ((resource: A) => Effect.Effect<unknown, unknown>) | undefined
  /**
   * After how long a silence a resource is checked before it is lent.
   *
   * Default: 1 second. Under load nothing is checked, and whoever comes after a pause pays one round trip.
   */
  readonly checkAfter?: Duration.DurationInput | undefined
  /**
   * Runs before a resource is lent, in the borrower's fiber, interruptible and as part of its lease. If it does not
   * succeed, the resource is closed and the borrower gets `HookError`.
   *
   * Default: nothing runs. It would cost every lease.
   */
  readonly onAcquire?: ((resource: A) => Effect.Effect<unknown, unknown>) | undefined
  /**
   * What becomes of a resource that is given back: kept, closed, or made ready first.
   *
   * Default: kept. The pool can't know what its users leave behind.
   */
  readonly recycler?: Recycler<A> | undefined
  /**
   * What has to be open before `make` returns: `"one"`, `"min"`, or nothing (`"lazy"`: then the minimum is kept from the
   * first need on).
   *
   * Default: `"one"`. A wrong address or password is found at the start, and no start waits for all of a large minimum.
   */
  readonly start?: "one" | "min" | "lazy" | undefined
  /**
   * Callbacks for metrics and logs.
   *
   * Default: none. Leases are then not even timed.
   */
  readonly observer?: Observer | undefined

  // -------------------------------------------------------------------------------------------------------------
  // Infrequent: to be changed with a reason
  // -------------------------------------------------------------------------------------------------------------

  /**
   * What a failure to open means: `"failed"` (tried again with backoff), `"fatal"` (time alone won't mend it: with
   * nothing open, callers fail at once), `"capacity"` (no more at present: the pool carries on with what it holds, and
   * asks again with backoff).
   *
   * Default: `"failed"`. The pool can't know, and it is wrong for a few seconds at most. A defect is `"fatal"`.
   */
  readonly classify?: ((error: E) => "failed" | "fatal" | "capacity") | undefined
  /**
   * How long opening one may take. After it the attempt counts as failed.
   *
   * Default: 5 seconds. Many times a slow handshake, and half of a caller's patience.
   */
  readonly connectTimeout?: Duration.DurationInput | undefined
  /**
   * How many are opened at the same time. While opening fails it is one.
   *
   * Default: 3. A server that has just restarted is not stormed.
   */
  readonly maxConnecting?: number | undefined
  /**
   * How long a check may take before the resource counts as dead.
   *
   * Default: 1 second. That much a dead resource costs one caller.
   */
  readonly checkTimeout?: Duration.DurationInput | undefined
  /**
   * How long a recycler's reset may take before the resource is closed instead.
   *
   * Default: 5 seconds. Nobody waits for it but the slot.
   */
  readonly resetTimeout?: Duration.DurationInput | undefined
  /**
   * How long closing may take before the slot is given back all the same.
   *
   * Default: 5 seconds. Until then the other side may still count it; for ever would lose the slot.
   */
  readonly closeTimeout?: Duration.DurationInput | undefined
  /**
   * The share of the lifetime that chance takes off, from 0 to 1.
   *
   * Default: 0.1. What was opened together does not end together.
   */
  readonly lifetimeJitter?: number | undefined
  /**
   * A lease of this length is reported as `LeakSuspected`, with the span of its holder.
   *
   * Default: never. Only the user knows how long a lease may last; timing them costs each lease a reading of the clock.
   */
  readonly leakAfter?: Duration.DurationInput | undefined
  /**
   * With nothing open, callers fail at once after opening has been failing for so long.
   *
   * Default: 3 seconds. A restart is waited out, an outage is not.
   */
  readonly unavailableAfter?: Duration.DurationInput | undefined
  /**
   * The first pause after a failure to open, doubled with each further one; chance takes off up to a half.
   *
   * Default: 250 ms. Short beside `unavailableAfter`, so that the end of a blip is noticed soon.
   */
  readonly retryBase?: Duration.DurationInput | undefined
  /**
   * The longest such pause.
   *
   * Default: 5 seconds. That much later than the other side the pool comes back, at most.
   */
  readonly retryCap?: Duration.DurationInput | undefined
  /**
   * How long leases may go on when the pool's scope closes.
   *
   * Default: 5 seconds. Well within the time that process managers give to a shutdown.
   */
  readonly grace?: Duration.DurationInput | undefined
}

/**
 * Synchronous callbacks on the way of each lease. They run inside the pool: they have to be quick. One that throws is
 * logged and changes nothing.
 *
 * @category models
 * @since 0.1.0
 */
export interface Observer {
  /** A lease begins, after this wait in ms; if a resource was at hand, what taking it took. */
  readonly acquired?: ((waitMillis: number) => void) | undefined
  /** A lease ended, after this use in ms. */
  readonly released?: ((useMillis: number) => void) | undefined
  /** Something else happened. */
  readonly event?: ((event: PoolEvent) => void) | undefined
}

/**
 * The defaults of `Options`; the reasons stand there.
 *
 * @category constructors
 * @since 0.1.0
 */
export const defaults = {
  min: 0,
  max: 10,
  acquireTimeout: "10 seconds",
  maxWaiting: 10_000,
  idleTimeout: "5 minutes",
  lifetime: "1 hour",
  maxUses: Number.POSITIVE_INFINITY,
  checkAfter: "1 second",
  start: "one",
  connectTimeout: "5 seconds",
  maxConnecting: 3,
  checkTimeout: "1 second",
  resetTimeout: "5 seconds",
  closeTimeout: "5 seconds",
  lifetimeJitter: 0.1,
  leakAfter: Duration.infinity,
  unavailableAfter: "3 seconds",
  retryBase: "250 millis",
  retryCap: "5 seconds",
  grace: "5 seconds"
} as const satisfies Partial<Options<unknown, unknown, unknown>>
