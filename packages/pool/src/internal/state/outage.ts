/**
 * When opening fails: how long to pause, and from when on callers are told at once instead of left waiting.
 *
 * Down is: one is needed, nothing is open, nothing being opened, and opening has been failing for `unavailableAfter` (or
 * for a reason that time won't mend). A blip, such as a restart, is waited out; a refusal for lack of capacity is no
 * fault: the pool carries on with what it holds, and asks for more after the same pauses.
 */
import { PoolEvent } from "../../PoolEvent.ts"
import type { Config } from "./config.ts"
import { relieve } from "./saturation.ts"
import * as Slot from "./slot.ts"
import type { State } from "./state.ts"

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

/** Exponential backoff with jitter: uniform between half and the whole of `base × 2^(failures − 1)`, at most `cap`. */
const pause = (config: Config, failures: number): number =>
  Math.min(config.retryCap, config.retryBase * 2 ** Math.min(failures - 1, 30)) * (0.5 + 0.5 * config.random())

/** An attempt that began at `began` has failed. @internal */
export const failed = <A>(state: State<A>, now: number, began: number, failure: ConnectFailure): void => {
  const { config, trouble } = state
  const failures = (trouble?.failures ?? 0) + 1
  const retryIn = pause(config, failures)
  const capacity = failure.kind === "capacity"
  if (capacity) tellAvailable(state, now)
  state.trouble = {
    error: failure.error,
    kind: failure.kind,
    failures,
    since: trouble !== undefined && goesOn(config, trouble, capacity, began) ? trouble.since : began,
    nextAttempt: now + retryIn,
    down: !capacity && trouble?.down === true
  }
  state.totals.connectFailures++
  const common = { pool: config.name, error: failure.error, retryIn }
  state.tell(
    capacity ? PoolEvent.AtCapacity({ ...common, total: state.open }) : PoolEvent.ConnectFailed({ ...common, failures })
  )
}

/** An attempt has succeeded. @internal */
export const over = <A>(state: State<A>, now: number): void => {
  tellAvailable(state, now)
  state.trouble = undefined
}

/** Whether the next attempt has to wait. @internal */
export const isPausing = <A>(state: State<A>, now: number): boolean =>
  state.trouble !== undefined && now < state.trouble.nextAttempt

/** To be called when an attempt is wanted and has to wait: calls an outage an outage, or says when to ask again. @internal */
export const judge = <A>(state: State<A>, now: number, trouble: Trouble): void => {
  state.remind(trouble.nextAttempt)
  if (trouble.kind === "capacity" || state.open > 0 || state.counts[Slot.Connecting] > 0) return
  const downAt = trouble.since + state.config.unavailableAfter
  if (!trouble.down && trouble.kind !== "fatal" && now < downAt) {
    state.remind(downAt)
    return
  }
  const down = { ...trouble, down: true }
  if (!trouble.down) {
    state.trouble = down
    const lasted = now - trouble.since
    state.tell(PoolEvent.Unavailable({ pool: state.config.name, error: trouble.error, lasted }))
  }
  for (let waiter = state.waiters.head; waiter !== undefined; waiter = state.waiters.head) {
    state.totals.rejected++
    state.turnAway(waiter, { _tag: "Unavailable", trouble: down })
  }
  relieve(state, now)
}

/** The other side answers, be it by a refusal for lack of capacity. */
const tellAvailable = <A>(state: State<A>, now: number): void => {
  const { config, trouble } = state
  if (trouble?.down === true) state.tell(PoolEvent.Available({ pool: config.name, lasted: now - trouble.since }))
}

/** Whether it is the same trouble still. What failed once, long before anybody tried again, says nothing about now. */
const goesOn = (config: Config, trouble: Trouble, capacity: boolean, began: number): boolean =>
  (trouble.kind === "capacity") === capacity && (trouble.down || began - trouble.nextAttempt < config.unavailableAfter)
