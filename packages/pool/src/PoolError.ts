/**
 * What acquiring from a pool can fail with. Each error has fields for programs and a message for people that says what
 * happened, for how long, and what to try. Durations are in milliseconds.
 *
 * They are `Data.TaggedError`s, not schemas: a saturated pool rejects often, and these cost a quarter to make.
 *
 * @since 0.1.0
 */
import * as Data from "effect/Data"
import * as Predicate from "effect/Predicate"

const seconds = (millis: number) => `${(millis / 1000).toFixed(millis < 10_000 ? 2 : 0)} s`
const reason = (cause: unknown) => (cause instanceof Error ? cause.message : String(cause)).replace(/\.$/, "")
const because = (cause: unknown) => (cause === undefined ? "" : ` Opening last failed with: ${reason(cause)}.`)

/**
 * No resource became free before the acquire timeout.
 *
 * @category errors
 * @since 0.1.0
 */
export class AcquireTimeout extends Data.TaggedError("AcquireTimeout")<{
  readonly pool: string
  /** How long this caller waited. */
  readonly waited: number
  /** How many callers still wait, and since when the oldest of them does. */
  readonly waiting: number
  readonly oldestWait: number
  readonly max: number
  readonly leased: number
  readonly connecting: number
  /** Why opening last failed, if it did and has not succeeded since. */
  readonly cause?: unknown
}> {
  override get message(): string {
    return (
      `Pool "${this.pool}": nothing became free within ${seconds(this.waited)} ` +
      `(${this.leased} of ${this.max} lent, ${this.connecting} being opened, ${this.waiting} more waiting, ` +
      `the oldest for ${seconds(this.oldestWait)}).${because(this.cause)} ` +
      "Hold connections for shorter, raise max, or raise acquireTimeout."
    )
  }
}

/**
 * As many callers as allowed are waiting already; this one was turned away at once.
 *
 * @category errors
 * @since 0.1.0
 */
export class PoolSaturated extends Data.TaggedError("PoolSaturated")<{
  readonly pool: string
  readonly waiting: number
  readonly max: number
  readonly oldestWait: number
  /** A hint: after this long, the callers who wait now have probably been served. */
  readonly retryAfter: number
}> {
  override get message(): string {
    return (
      `Pool "${this.pool}" is saturated: all ${this.max} are taken and ${this.waiting} callers wait, ` +
      `the oldest for ${seconds(this.oldestWait)}. Try again in about ${seconds(this.retryAfter)}, ` +
      "shed load, or raise maxWaiting or max."
    )
  }
}

/**
 * The pool is closed or closing.
 *
 * @category errors
 * @since 0.1.0
 */
export class PoolClosed extends Data.TaggedError("PoolClosed")<{
  readonly pool: string
  /** For how long it has been closing or closed. */
  readonly since: number
}> {
  override get message(): string {
    return (
      `Pool "${this.pool}" began to close ${seconds(this.since)} ago and lends nothing any more. ` +
      "Use it inside the scope (or Layer) that provides it."
    )
  }
}

/**
 * Nothing is open and opening keeps failing, so callers fail at once instead of waiting.
 *
 * @category errors
 * @since 0.1.0
 */
export class PoolUnavailable extends Data.TaggedError("PoolUnavailable")<{
  readonly pool: string
  /** Why opening last failed. */
  readonly cause: unknown
  /** For how long it has been failing, and how often in a row. */
  readonly since: number
  readonly failures: number
  /** In how long the next attempt is due. */
  readonly nextProbe: number
}> {
  override get message(): string {
    return (
      `Pool "${this.pool}" is unavailable: opening has been failing for ${seconds(this.since)} ` +
      `(${this.failures} times in a row).${because(this.cause)} ` +
      `The next attempt is due in ${seconds(this.nextProbe)}; see to the cause, the pool recovers by itself.`
    )
  }
}

/**
 * The fiber already holds every resource that the pool may have, so its wait could never end.
 *
 * @category errors
 * @since 0.1.0
 */
export class NestedAcquire extends Data.TaggedError("NestedAcquire")<{
  readonly pool: string
  readonly held: number
  readonly max: number
}> {
  override get message(): string {
    return (
      `Pool "${this.pool}": this fiber already holds ${this.held} of ${this.max} and asked for one more, ` +
      "which would wait for itself. Use the one it holds, give it back first, or raise max."
    )
  }
}

/**
 * The hook `onAcquire` failed: its resource was closed, its slot is free, and this caller borrowed nothing.
 *
 * @category errors
 * @since 0.1.0
 */
export class HookError extends Data.TaggedError("HookError")<{
  readonly pool: string
  readonly cause: unknown
  /** How long the hook had been running. */
  readonly took: number
}> {
  override get message(): string {
    return (
      `Pool "${this.pool}": the hook onAcquire failed after ${seconds(this.took)}: ${reason(this.cause)}. ` +
      "The resource was closed. Try again; if it goes on, see to the hook."
    )
  }
}

/**
 * Opening a resource took longer than the connect timeout. Callers meet it as the `cause` of `PoolUnavailable` and
 * `AcquireTimeout`, and `Pool.make` fails with it at the start.
 *
 * @category errors
 * @since 0.1.0
 */
export class ConnectTimeout extends Data.TaggedError("ConnectTimeout")<{
  readonly pool: string
  readonly took: number
}> {
  override get message(): string {
    return (
      `Pool "${this.pool}": opening took longer than ${seconds(this.took)}. ` +
      "Check that the other side answers, or raise connectTimeout."
    )
  }
}

/**
 * An option of the pool that can't work.
 *
 * @category errors
 * @since 0.1.0
 */
export class InvalidPoolOptions extends Data.TaggedError("InvalidPoolOptions")<{
  readonly pool: string
  readonly option: string
  readonly value: unknown
  readonly reason: string
}> {
  override get message(): string {
    return `Pool "${this.pool}": option ${this.option} is ${String(this.value)}, but ${this.reason}.`
  }
}

/**
 * Everything that acquiring can fail with.
 *
 * @category errors
 * @since 0.1.0
 */
export type PoolError = AcquireTimeout | PoolSaturated | PoolClosed | PoolUnavailable | NestedAcquire | HookError

/**
 * Whether a value is one of the pool's errors.
 *
 * @category guards
 * @since 0.1.0
 */
export const isPoolError = (u: unknown): u is PoolError =>
  u instanceof AcquireTimeout ||
  u instanceof PoolSaturated ||
  u instanceof PoolClosed ||
  u instanceof PoolUnavailable ||
  u instanceof NestedAcquire ||
  u instanceof HookError

/**
 * The pool's error in a chain of `cause`s, if there is one: how a pool error is recognised inside an error that wraps
 * it.
 *
 * @category getters
 * @since 0.1.0
 */
export const findPoolError = (u: unknown): PoolError | undefined => {
  const seen = new Set<unknown>()
  for (let current = u; current !== undefined && !seen.has(current); ) {
    if (isPoolError(current)) return current
    seen.add(current)
    current = Predicate.hasProperty(current, "cause") ? current.cause : undefined
  }
  return undefined
}
