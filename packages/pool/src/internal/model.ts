/**
 * The vocabulary between the pool's state and its interpreter. Durations and times are in milliseconds.
 */
import type { PoolEvent } from "../PoolEvent.ts"
import type { Slot } from "./slot.ts"
import type { Waiter } from "./waiters.ts"

/** @internal */
export interface Config {
  readonly name: string
  readonly min: number
  readonly max: number
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

/** @internal */
export interface ConnectFailure {
  /** `capacity`: the other side has no more at present. `fatal`: time alone won't mend it. */
  readonly kind: "failed" | "fatal" | "capacity"
  readonly error: unknown
}

/** @internal */
export interface Trouble extends ConnectFailure {
  readonly failures: number
  /** When the first of these attempts began. */
  readonly since: number
  readonly nextAttempt: number
  /** Known to be down: callers fail at once. */
  readonly down: boolean
}

/** What the interpreter has to do. @internal */
export type Command<A> =
  | { readonly _tag: "Connect"; readonly slot: Slot<A> }
  | { readonly _tag: "Abandon"; readonly slot: Slot<A> }
  | { readonly _tag: "Check"; readonly slot: Slot<A> }
  | { readonly _tag: "Close"; readonly slot: Slot<A> }
  | { readonly _tag: "Wake"; readonly waiter: Waiter<A> }
  | { readonly _tag: "Leak"; readonly slot: Slot<A>; readonly held: number }
  | { readonly _tag: "Event"; readonly event: PoolEvent }
  | { readonly _tag: "Drained" }

/** Exponential backoff with jitter: uniform between half and the whole of `base × 2^(failures − 1)`, at most `cap`. */
export const retryDelay = (config: Config, failures: number): number =>
  Math.min(config.retryCap, config.retryBase * 2 ** Math.min(failures - 1, 30)) * (0.5 + 0.5 * config.random())
