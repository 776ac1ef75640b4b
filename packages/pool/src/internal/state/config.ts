/**
 * What the state counts with: the options of `Pool`, as numbers. Durations are in milliseconds.
 */

/** @internal */
export interface Config {
  readonly name: string
  readonly min: number
  readonly max: number
  /** Whether the minimum is kept open from the start on, or only from the first need on. */
  readonly warm: boolean
  readonly maxWaiting: number
  readonly maxConnecting: number
  readonly acquireTimeout: number
  readonly connectTimeout: number
  /** `Infinity`: never checked. */
  readonly checkAfter: number
  readonly checkTimeout: number
  readonly resetTimeout: number
  readonly closeTimeout: number
  readonly idleTimeout: number
  readonly lifetime: number
  readonly lifetimeJitter: number
  readonly maxUses: number
  readonly leakAfter: number
  readonly unavailableAfter: number
  readonly retryBase: number
  readonly retryCap: number
  /** Uniform in [0, 1). */
  readonly random: () => number
  /** The error of an attempt that took longer than the connect timeout. */
  readonly connectTimedOut: (took: number) => unknown
}
