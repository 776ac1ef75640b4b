/**
 * Runs what the state decides: fibers that open, check, reset and close; timers; the wake-ups of waiters.
 *
 * Whatever lies between "slot taken" and "its return is certain" runs in an uninterruptible region; only waiting and the
 * user's own effect are interruptible. A waiter is handed its slot in its own cell, not in the value that resumes it:
 * an interrupt in between finds the slot in the cell and gives it back.
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as FiberId from "effect/FiberId"
import * as Option from "effect/Option"
import * as Runtime from "effect/Runtime"
import * as RuntimeFlags from "effect/RuntimeFlags"
import * as Scope from "effect/Scope"
import * as Tracer from "effect/Tracer"
import type { ConnectTimeout, PoolError } from "../PoolError.ts"
import { AcquireTimeout, HookError, NestedAcquire, PoolClosed, PoolSaturated, PoolUnavailable } from "../PoolError.ts"
import { PoolEvent } from "../PoolEvent.ts"
import type { PoolStats } from "../PoolStats.ts"
import type { Recycler, Verdict } from "../Recycler.ts"
import { close as closeVerdict, keep } from "../Recycler.ts"
import type { Command, Config, ConnectFailure } from "./model.ts"
import type { Rejection } from "./rejection.ts"
import * as Slot from "./slot.ts"
import { State } from "./state.ts"
import * as Waiters from "./waiters.ts"

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

/** @internal */
export interface Observer {
  readonly acquired?: ((waitMillis: number) => void) | undefined
  readonly released?: ((useMillis: number) => void) | undefined
  readonly event?: ((event: PoolEvent) => void) | undefined
}

type Restore = <B, E, R>(effect: Effect.Effect<B, E, R>) => Effect.Effect<B, E, R>

const maxSleep = 24 * 60 * 60 * 1000

/** @internal */
export class Interpreter<A, E, R> {
  readonly driver: Driver<A, E, R>
  readonly state: State<A>
  readonly listeners = new Set<(event: PoolEvent) => void>()
  readonly drained = Deferred.unsafeMake<void>(FiberId.none)
  /** Its fibers begin uninterruptible: one that is given up before its first step still reports how it ended. */
  private readonly runtime: Runtime.Runtime<R>
  private readonly clock: Clock.Clock
  private readonly origin: bigint
  private readonly timed: boolean
  private readonly scopes = new Map<Slot.Slot<A>, Scope.CloseableScope>()
  private readonly holders = new Map<A, Slot.Slot<A>>()
  /** The connect, check or reset that runs for a slot. */
  private readonly jobs = new Map<Slot.Slot<A>, Fiber.RuntimeFiber<unknown, unknown>>()
  private timer: Fiber.RuntimeFiber<void> | undefined
  private armedAt = Number.POSITIVE_INFINITY
  private flushing = false

  constructor(driver: Driver<A, E, R>, runtime: Runtime.Runtime<R>, clock: Clock.Clock) {
    this.driver = driver
    this.state = new State(driver.config)
    this.runtime = Runtime.disableRuntimeFlag(runtime, RuntimeFlags.Interruption)
    this.clock = clock
    this.origin = clock.unsafeCurrentTimeNanos()
    // Without a use for the time of a lease's beginning, the fast way saves one reading of the clock.
    this.timed =
      driver.observer !== undefined ||
      driver.config.checkAfter !== Number.POSITIVE_INFINITY ||
      driver.config.leakAfter !== Number.POSITIVE_INFINITY
  }

  /** Milliseconds since the pool was made, monotonic. */
  now(): number {
    return Number(this.clock.unsafeCurrentTimeNanos() - this.origin) / 1e6
  }

  use<B, E2, R2>(f: (resource: A) => Effect.Effect<B, E2, R2>): Effect.Effect<B, E2 | PoolError, R2> {
    return Effect.uninterruptibleMask((restore) => {
      const slot = this.take()
      return slot === undefined || this.driver.onAcquire !== undefined
        ? this.slowly(slot, restore, (slot) => this.lease(slot, restore, f))
        : this.lease(slot, restore, f)
    })
  }

  readonly get: Effect.Effect<A, PoolError, Scope.Scope> = Effect.uninterruptibleMask((restore) =>
    this.slowly(this.take(), restore, (slot) => this.scoped(slot))
  )

  invalidate(resource: A): Effect.Effect<void> {
    return Effect.sync(() => {
      const slot = this.holders.get(resource)
      if (slot !== undefined) this.step(() => this.state.invalidate(slot, this.now()))
    })
  }

  /** One transition of the state, and what follows from it. */
  step<B>(transition: () => B): B {
    const result = transition()
    this.settle()
    return result
  }

  drain(graceMillis: number): Effect.Effect<void> {
    return Effect.zipRight(
      Effect.sync(() => this.step(() => this.state.drain(this.now(), graceMillis))),
      Deferred.await(this.drained)
    )
  }

  /** Opens what the start asks for; fails with why opening failed. */
  start(mode: "one" | "min" | "lazy"): Effect.Effect<void, E | ConnectTimeout> {
    if (mode === "lazy") return Effect.void
    const enough = mode === "one" ? 1 : this.state.config.min
    let stop = () => false
    return Effect.async<void, E | ConnectTimeout>((resume) => {
      const look = () => {
        const { open, trouble } = this.state
        // A server that is full at once is a start all the same, with what it gave.
        if (open >= enough || (open > 0 && trouble?.kind === "capacity")) resume(Effect.void)
        else if (trouble !== undefined) resume(Effect.fail(trouble.error as E | ConnectTimeout))
      }
      this.listeners.add(look)
      this.step(() => this.state.warmUp(enough, this.now()))
      look()
      stop = () => this.listeners.delete(look)
    }).pipe(Effect.ensuring(Effect.sync(() => stop())))
  }

  stats(): PoolStats {
    const { config, counts, max, min, slots, totals, trouble, waiters } = this.state
    return {
      name: config.name,
      min,
      max,
      total: slots.size,
      idle: counts[Slot.Idle],
      leased: counts[Slot.Leased],
      connecting: counts[Slot.Connecting],
      checking: counts[Slot.Checking],
      resetting: counts[Slot.Resetting],
      closing: counts[Slot.Closing],
      waiting: waiters.size,
      oldestWait: waiters.size === 0 ? 0 : this.state.oldestWait(this.now()),
      acquired: totals.acquired,
      reused: totals.reused,
      reuseRate: totals.acquired === 0 ? 0 : totals.reused / totals.acquired,
      queued: totals.queued,
      timedOut: totals.timedOut,
      rejected: totals.rejected,
      opened: totals.opened,
      closed: totals.closed,
      connectFailures: totals.connectFailures,
      leaksSuspected: totals.leaksSuspected,
      atCapacity: trouble?.kind === "capacity",
      unavailable: trouble?.down === true
    }
  }

  // ---------------------------------------------------------------------------------------------------------------
  // Borrowing
  // ---------------------------------------------------------------------------------------------------------------

  private take(): Slot.Slot<A> | undefined {
    const began = this.timed ? this.now() : 0
    const slot = this.state.take(began, currentFiber())
    if (slot === undefined) return undefined
    if (this.state.wakeAt < this.armedAt) this.arm()
    if (this.driver.observer !== undefined) this.observe("acquired", this.now() - began)
    return slot
  }

  /** What has to be waited for before a lease: a slot, if there is none at hand, and the hook, if there is one. */
  private slowly<B, E2, R2>(
    slot: Slot.Slot<A> | undefined,
    restore: Restore,
    onSlot: (slot: Slot.Slot<A>) => Effect.Effect<B, E2, R2>
  ): Effect.Effect<B, E2 | PoolError, R2> {
    const { onAcquire } = this.driver
    const next =
      onAcquire === undefined
        ? onSlot
        : (slot: Slot.Slot<A>) => Effect.zipRight(this.hook(slot, restore, onAcquire), onSlot(slot))
    return slot === undefined ? this.wait(restore, next) : next(slot)
  }

  private hook(
    slot: Slot.Slot<A>,
    restore: Restore,
    onAcquire: (resource: A) => Effect.Effect<unknown, unknown>
  ): Effect.Effect<void, HookError> {
    const { lease } = slot
    const began = this.now()
    return Effect.matchCauseEffect(restore(Effect.suspend(() => onAcquire(slot.resource as A))), {
      onFailure: (cause) => {
        const now = this.now()
        const error = Cause.squash(cause)
        if (this.driver.observer !== undefined) this.observe("released", now - began)
        this.step(() => this.state.discard(slot, lease, now, "hookFailed", error))
        return Cause.isInterruptedOnly(cause)
          ? Effect.failCause(cause as Cause.Cause<never>)
          : Effect.fail(new HookError({ pool: this.driver.config.name, cause: error, took: now - began }))
      },
      onSuccess: () => Effect.void
    })
  }

  private wait<B, E2, R2>(
    restore: Restore,
    onSlot: (slot: Slot.Slot<A>) => Effect.Effect<B, E2, R2>
  ): Effect.Effect<B, E2 | PoolError, R2> {
    const began = this.now()
    const waiter = this.step(() => this.state.enqueue(began, currentFiber()))
    if ("_tag" in waiter) return Effect.fail(this.error(waiter))
    const woken = Effect.async<void>((resume) => {
      if (waiter.status !== Waiters.Waiting) resume(Effect.void)
      else waiter.resume = () => resume(Effect.void)
    })
    return Effect.matchCauseEffect(restore(woken), {
      onFailure: (cause): Effect.Effect<B, E2 | PoolError, R2> => {
        this.step(() => this.state.cancel(waiter, this.now()))
        return Effect.failCause(cause)
      },
      onSuccess: (): Effect.Effect<B, E2 | PoolError, R2> => {
        const { rejection, slot } = waiter
        // Or a drain without grace has taken it back before this fiber went on.
        if (slot === undefined || slot.status !== Slot.Leased) {
          return Effect.fail(this.error(rejection ?? { _tag: "Closed" }))
        }
        if (this.driver.observer !== undefined) this.observe("acquired", this.now() - began)
        return onSlot(slot)
      }
    })
  }

  private lease<B, E2, R2>(
    slot: Slot.Slot<A>,
    restore: Restore,
    f: (resource: A) => Effect.Effect<B, E2, R2>
  ): Effect.Effect<B, E2, R2> {
    const { lease } = slot
    let used: Effect.Effect<B, E2, R2>
    try {
      used = restore(f(slot.resource as A))
    } catch (defect) {
      used = Effect.die(defect)
    }
    return Effect.matchCauseEffect(used, {
      onFailure: (cause) => {
        this.giveBack(slot, lease)
        return Effect.failCause(cause)
      },
      onSuccess: (value) => {
        this.giveBack(slot, lease)
        return Effect.succeed(value)
      }
    })
  }

  private scoped(slot: Slot.Slot<A>): Effect.Effect<A, never, Scope.Scope> {
    const { lease } = slot
    return Effect.as(
      Effect.addFinalizer(() => Effect.sync(() => this.giveBack(slot, lease))),
      slot.resource as A
    )
  }

  private giveBack(slot: Slot.Slot<A>, lease: number): void {
    if (slot.status !== Slot.Leased || slot.lease !== lease) return
    const now = this.now()
    if (this.driver.observer !== undefined) this.observe("released", now - slot.since)
    const verdict = this.judge(slot)
    if (Effect.isEffect(verdict)) {
      this.state.release(slot, lease, now, undefined)
      // Not if it retires anyway: then it is closing by now.
      if ((slot.status as Slot.Status) === Slot.Resetting) this.reset(slot, verdict)
    } else {
      this.state.release(slot, lease, now, verdict)
    }
    this.settle()
  }

  private judge(slot: Slot.Slot<A>): Verdict | Effect.Effect<Verdict, unknown> {
    if (this.driver.recycler === undefined) return keep
    try {
      return this.driver.recycler(slot.resource as A, slot)
    } catch (defect) {
      return closeVerdict(defect)
    }
  }

  // ---------------------------------------------------------------------------------------------------------------
  // Commands
  // ---------------------------------------------------------------------------------------------------------------

  private settle(): void {
    if (this.state.commands.length > 0) this.flush()
    if (this.state.wakeAt < this.armedAt && this.state.phase !== "closed") this.arm()
  }

  private flush(): void {
    // A listener may use the pool; its commands join the queue that is being worked off.
    if (this.flushing) return
    this.flushing = true
    const { commands } = this.state
    for (let i = 0; i < commands.length; i++) this.run(commands[i]!)
    commands.length = 0
    this.flushing = false
  }

  private run(command: Command<A>): void {
    switch (command._tag) {
      case "Wake":
        command.waiter.resume?.()
        break
      case "Connect":
        this.connect(command.slot)
        break
      case "Abandon":
        this.interrupt(command.slot)
        break
      case "Check":
        this.check(command.slot)
        break
      case "Close":
        this.close(command.slot)
        break
      case "Leak": {
        const { held, slot } = command
        const holder = spanName(slot.holder)
        this.publish(PoolEvent.LeakSuspected({ pool: this.driver.config.name, id: slot.id, held, holder }))
        break
      }
      case "Event":
        this.publish(command.event)
        break
      case "Drained":
        this.timer?.unsafeInterruptAsFork(FiberId.none)
        Deferred.unsafeDone(this.drained, Effect.void)
        break
    }
  }

  private connect(slot: Slot.Slot<A>): void {
    const { acquire } = this.driver
    const open = Effect.flatMap(Scope.make(), (scope) =>
      Effect.flatMap(Effect.exit(Effect.interruptible(Scope.extend(acquire, scope))), (exit) => {
        this.jobs.delete(slot)
        if (Exit.isSuccess(exit)) {
          this.scopes.set(slot, scope)
          this.holders.set(exit.value, slot)
          if (this.step(() => this.state.opened(slot, exit.value, this.now()))) return Effect.void
          this.forget(slot, exit.value)
        }
        return Effect.map(Effect.exit(Scope.close(scope, exit)), () =>
          this.step(() => this.state.openFailed(slot, this.failure(exit), this.now()))
        )
      })
    )
    this.job(slot, open)
  }

  private failure(exit: Exit.Exit<unknown, E>): ConnectFailure {
    if (Exit.isSuccess(exit)) return { kind: "failed", error: undefined }
    const error = Cause.failureOption(exit.cause)
    if (Option.isNone(error)) return { kind: "fatal", error: Cause.squash(exit.cause) }
    try {
      return { kind: this.driver.classify?.(error.value) ?? "failed", error: error.value }
    } catch (defect) {
      return { kind: "fatal", error: defect }
    }
  }

  private check(slot: Slot.Slot<A>): void {
    const check = Effect.suspend(() => this.driver.check?.(slot.resource as A) ?? Effect.void)
    this.job(
      slot,
      Effect.map(Effect.exit(Effect.interruptible(check)), (exit) =>
        this.step(() => {
          this.jobs.delete(slot)
          const outcome = Exit.isSuccess(exit) ? { ok: true } : { ok: false, error: Cause.squash(exit.cause) }
          this.state.checked(slot, this.now(), outcome)
        })
      )
    )
  }

  private reset(slot: Slot.Slot<A>, reset: Effect.Effect<Verdict, unknown>): void {
    this.job(
      slot,
      Effect.map(Effect.exit(Effect.interruptible(reset)), (exit) =>
        this.step(() => {
          this.jobs.delete(slot)
          const outcome = Exit.isSuccess(exit)
            ? exit.value
            : { _tag: "Failed" as const, error: Cause.squash(exit.cause) }
          this.state.reset(slot, this.now(), outcome)
        })
      )
    )
  }

  private close(slot: Slot.Slot<A>): void {
    this.interrupt(slot)
    const scope = this.scopes.get(slot)
    this.forget(slot, slot.resource as A)
    const closed = scope === undefined ? Effect.void : Scope.close(scope, Exit.void)
    this.fork(
      closed.pipe(
        Effect.catchAllCause((cause) =>
          Effect.logWarning(`Pool "${this.driver.config.name}": closing a resource failed`, cause)
        ),
        Effect.map(() => this.step(() => this.state.closed(slot, this.now())))
      )
    )
  }

  private forget(slot: Slot.Slot<A>, resource: A): void {
    this.scopes.delete(slot)
    if (this.holders.get(resource) === slot) this.holders.delete(resource)
  }

  private interrupt(slot: Slot.Slot<A>): void {
    this.jobs.get(slot)?.unsafeInterruptAsFork(FiberId.none)
    this.jobs.delete(slot)
  }

  private job(slot: Slot.Slot<A>, effect: Effect.Effect<unknown, unknown, R>): void {
    this.jobs.set(slot, this.fork(effect))
  }

  private fork<B, E2>(effect: Effect.Effect<B, E2, R>): Fiber.RuntimeFiber<B, E2> {
    return Runtime.runFork(this.runtime, effect, { immediate: false })
  }

  // ---------------------------------------------------------------------------------------------------------------
  // Time and news
  // ---------------------------------------------------------------------------------------------------------------

  /** One timer for all deadlines. It is set anew only when something is due sooner than it. */
  private arm(): void {
    this.timer?.unsafeInterruptAsFork(FiberId.none)
    this.armedAt = this.state.wakeAt
    const until = this.armedAt
    // The fiber may start late, after a burst of callers: how long it sleeps is decided when it does.
    // In whole milliseconds, rounded up: what is left of a fraction may be too short to bring the time on at all.
    const sleep = Effect.suspend(() => Clock.sleep(Math.min(Math.max(Math.ceil(until - this.now()), 0), maxSleep)))
    const timer = this.fork(
      Effect.map(Effect.interruptible(sleep), () => {
        if (this.timer !== timer) return
        this.timer = undefined
        this.armedAt = Number.POSITIVE_INFINITY
        this.step(() => this.state.tick(this.now()))
      })
    )
    this.timer = timer
  }

  private publish(event: PoolEvent): void {
    if (this.driver.observer?.event !== undefined) this.guard(() => this.driver.observer?.event?.(event))
    for (const listener of this.listeners) listener(event)
  }

  private observe(what: "acquired" | "released", millis: number): void {
    this.guard(() => this.driver.observer?.[what]?.(millis))
  }

  /** An observer's defect must not cost a slot. */
  private guard(f: () => void): void {
    try {
      f()
    } catch (defect) {
      this.fork(Effect.logWarning(`Pool "${this.driver.config.name}": its observer threw`, Cause.die(defect)))
    }
  }

  private error(rejection: Rejection): PoolError {
    const { config, counts, max, trouble, waiters } = this.state
    const pool = config.name
    const now = this.now()
    switch (rejection._tag) {
      case "Closed":
        return new PoolClosed({ pool })
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
          oldestWait: this.state.oldestWait(now),
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
}

const currentFiber = () => Option.getOrUndefined(Fiber.getCurrentFiber())

const spanName = (holder: unknown): string | undefined => {
  const fiber = holder as Fiber.RuntimeFiber<unknown, unknown> | undefined
  if (fiber === undefined) return undefined
  const span = Context.getOption(fiber.currentContext, Tracer.ParentSpan)
  return Option.isSome(span) && span.value._tag === "Span" ? span.value.name : FiberId.threadName(fiber.id())
}
