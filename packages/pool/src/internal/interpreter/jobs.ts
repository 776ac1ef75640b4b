/**
 * The fibers that open, check, reset and close resources. Each reports how it ended, once, however it ended; what the
 * state no longer waits for, it ignores.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as FiberId from "effect/FiberId"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import type { Verdict } from "../../Recycler.ts"
import type { ConnectFailure } from "../state/outage.ts"
import type { Slot } from "../state/slot.ts"
import type { State } from "../state/state.ts"
import * as Transition from "../state/transitions.ts"
import type { Driver } from "./driver.ts"
import type { Fork } from "./fork.ts"

/** Carries out one transition, and what follows from it. @internal */
export type Step<A> = <B>(transition: (state: State<A>, now: number) => B) => B

/** @internal */
export class Jobs<A, E, R> {
  /** What runs on a slot, until it ends or is given up. At most one. */
  private readonly running = new Map<Slot<A>, Fiber.RuntimeFiber<unknown, unknown>>()
  /** What closes a slot's resource, until it begins to close. */
  private readonly scopes = new Map<Slot<A>, Scope.CloseableScope>()
  /** Whose resource it is, until it begins to close. */
  private readonly slots = new Map<A, Slot<A>>()
  private readonly driver: Driver<A, E, R>
  private readonly fork: Fork<R>
  private readonly step: Step<A>

  constructor(driver: Driver<A, E, R>, fork: Fork<R>, step: Step<A>) {
    this.driver = driver
    this.fork = fork
    this.step = step
  }

  slotOf(resource: A): Slot<A> | undefined {
    return this.slots.get(resource)
  }

  /** How many entries are kept; none once everything is closed. */
  get size(): number {
    return this.running.size + this.scopes.size + this.slots.size
  }

  open(slot: Slot<A>): void {
    const open = Effect.flatMap(Scope.make(), (scope) =>
      Effect.flatMap(Effect.exit(Effect.interruptible(Scope.extend(this.driver.acquire, scope))), (exit) => {
        this.running.delete(slot)
        return Exit.isSuccess(exit) && this.opened(slot, scope, exit.value)
          ? Effect.void
          : Effect.map(Effect.exit(Scope.close(scope, exit)), () =>
              this.step((state, now) => Transition.openFailed(state, now, slot, this.failure(exit)))
            )
      })
    )
    this.run(slot, open)
  }

  check(slot: Slot<A>): void {
    const check = Effect.suspend(() => this.driver.check?.(slot.resource as A) ?? Effect.void)
    this.run(
      slot,
      Effect.map(Effect.exit(Effect.interruptible(check)), (exit) => {
        this.running.delete(slot)
        const outcome = Exit.isSuccess(exit) ? { ok: true } : { ok: false, error: Cause.squash(exit.cause) }
        this.step((state, now) => Transition.checked(state, now, slot, outcome))
      })
    )
  }

  reset(slot: Slot<A>, reset: Effect.Effect<Verdict, unknown>): void {
    this.run(
      slot,
      Effect.map(Effect.exit(Effect.interruptible(reset)), (exit) => {
        this.running.delete(slot)
        const outcome = Exit.isSuccess(exit)
          ? exit.value
          : ({ _tag: "Failed", error: Cause.squash(exit.cause) } as const)
        this.step((state, now) => Transition.reset(state, now, slot, outcome))
      })
    )
  }

  close(slot: Slot<A>): void {
    this.interrupt(slot)
    const scope = this.scopes.get(slot)
    this.forget(slot, slot.resource as A)
    const closed = scope === undefined ? Effect.void : Scope.close(scope, Exit.void)
    this.fork(
      closed.pipe(
        Effect.catchAllCause((cause) =>
          Effect.logWarning(`Pool "${this.driver.config.name}": closing a resource failed`, cause)
        ),
        Effect.map(() => this.step((state, now) => Transition.closed(state, now, slot)))
      )
    )
  }

  interrupt(slot: Slot<A>): void {
    this.running.get(slot)?.unsafeInterruptAsFork(FiberId.none)
    this.running.delete(slot)
  }

  /** False when it came too late: then it has to be closed. */
  private opened(slot: Slot<A>, scope: Scope.CloseableScope, resource: A): boolean {
    this.scopes.set(slot, scope)
    this.slots.set(resource, slot)
    if (this.step((state, now) => Transition.opened(state, now, slot, resource))) return true
    this.forget(slot, resource)
    return false
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

  private forget(slot: Slot<A>, resource: A): void {
    this.scopes.delete(slot)
    if (this.slots.get(resource) === slot) this.slots.delete(resource)
  }

  private run(slot: Slot<A>, job: Effect.Effect<unknown, unknown, R>): void {
    const fiber = this.fork(job)
    if (fiber !== undefined) this.running.set(slot, fiber)
  }
}
