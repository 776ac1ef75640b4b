/**
 * Runs what the state decides. Each entrance makes one transition of the state, then carries out the commands that the
 * transition has left:
 *
 * - `borrowing`: `use` and `get`, from asking to giving back
 * - `jobs`: the fibers that open, check, reset and close
 * - `alarm`: the one timer
 * - `news`: observers and events
 * - `rejections`, `stats`: what callers get to see of the state
 */
import type * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as FiberId from "effect/FiberId"
import * as Option from "effect/Option"
import type * as Runtime from "effect/Runtime"
import * as Tracer from "effect/Tracer"
import type { ConnectTimeout } from "../../PoolError.ts"
import { PoolEvent } from "../../PoolEvent.ts"
import type { PoolStats } from "../../PoolStats.ts"
import type { Command } from "../state/command.ts"
import type { Slot } from "../state/slot.ts"
import { State } from "../state/state.ts"
import * as Transition from "../state/transitions.ts"
import { Alarm } from "./alarm.ts"
import type { Driver } from "./driver.ts"
import { makeFork } from "./fork.ts"
import { Jobs } from "./jobs.ts"
import { News } from "./news.ts"
import * as Stats from "./stats.ts"

/** @internal */
export class Interpreter<A, E, R> {
  readonly driver: Driver<A, E, R>
  readonly state: State<A>
  readonly news: News
  readonly jobs: Jobs<A, E, R>
  readonly timed: boolean
  private readonly alarm: Alarm
  private readonly drained = Deferred.unsafeMake<void>(FiberId.none)
  private readonly clock: Clock.Clock
  private readonly origin: bigint
  private carryingOut = false

  constructor(driver: Driver<A, E, R>, runtime: Runtime.Runtime<R>, clock: Clock.Clock) {
    const { config } = driver
    const fork = makeFork(runtime, config.name)
    this.driver = driver
    this.state = new State(config)
    this.clock = clock
    this.origin = clock.unsafeCurrentTimeNanos()
    this.news = new News(config.name, driver.observer, fork)
    this.jobs = new Jobs(driver, fork, (transition) => this.step(transition))
    this.alarm = new Alarm(
      fork,
      () => this.now(),
      () => this.step(Transition.tick)
    )
    this.timed =
      this.news.timesWaits ||
      this.news.timesLeases ||
      config.checkAfter !== Number.POSITIVE_INFINITY ||
      config.leakAfter !== Number.POSITIVE_INFINITY
  }

  /** Milliseconds since the pool was made, monotonic: the wall clock has no part in it. */
  now(): number {
    return Number(this.clock.unsafeCurrentTimeNanos() - this.origin) / 1e6
  }

  /** One transition of the state, and what follows from it. */
  step<B>(transition: (state: State<A>, now: number) => B): B {
    const result = transition(this.state, this.now())
    this.follow()
    return result
  }

  /** What follows from a transition. */
  follow(): void {
    const { state } = this
    if (state.commands.length > 0) this.carryOut()
    if (state.wakeAt < this.alarm.at && state.phase !== "closed") this.alarm.set(state.wakeAt)
    else if (state.wakeAt === Number.POSITIVE_INFINITY && this.alarm.at < state.wakeAt) this.alarm.stop()
  }

  invalidate(resource: A, why: unknown): Effect.Effect<void> {
    return Effect.sync(() => {
      const slot = this.jobs.slotOf(resource)
      if (slot !== undefined) this.step((state, now) => Transition.invalidate(state, now, slot, why))
    })
  }

  drain(graceMillis: number): Effect.Effect<void> {
    return Effect.zipRight(
      Effect.sync(() => this.step((state, now) => Transition.drain(state, now, graceMillis))),
      Deferred.await(this.drained)
    )
  }

  /** Opens what the start asks for; fails with why opening failed. */
  start(mode: "one" | "min" | "lazy"): Effect.Effect<void, E | ConnectTimeout> {
    if (mode === "lazy") return Effect.void
    const enough = mode === "one" ? 1 : this.state.config.min
    return Effect.async<void, E | ConnectTimeout>((resume) => {
      const look = () => {
        const { open, trouble } = this.state
        // A server that is full at once is a start all the same, with what it gave.
        if (open >= enough || (open > 0 && trouble?.kind === "capacity")) resume(Effect.void)
        else if (trouble !== undefined) resume(Effect.fail(trouble.error as E | ConnectTimeout))
        else return
        this.news.listeners.delete(look)
      }
      this.news.listeners.add(look)
      this.step((state, now) => Transition.warmUp(state, now, enough))
      look()
      return Effect.sync(() => this.news.listeners.delete(look))
    })
  }

  stats(): PoolStats {
    return Stats.read(this.state, this.now())
  }

  private carryOut(): void {
    // An observer may use the pool: its commands join the queue that is being worked off.
    if (this.carryingOut) return
    this.carryingOut = true
    const { commands } = this.state
    let done = 0
    try {
      while (done < commands.length) this.run(commands[done++]!)
    } finally {
      // Should one have thrown, the others are due at the next transition.
      commands.splice(0, done)
      this.carryingOut = false
    }
  }

  private run(command: Command<A>): void {
    switch (command._tag) {
      case "Wake":
        command.waiter.resume?.(Effect.void)
        break
      case "Connect":
        this.jobs.open(command.slot)
        break
      case "Abandon":
        this.jobs.interrupt(command.slot)
        break
      case "Check":
        this.jobs.check(command.slot)
        break
      case "Close":
        this.jobs.close(command.slot)
        break
      case "Leak":
        this.news.publish(this.leak(command.slot, command.held))
        break
      case "Event":
        this.news.publish(command.event)
        break
      case "Drained":
        this.alarm.stop()
        Deferred.unsafeDone(this.drained, Effect.void)
        break
    }
  }

  private leak(slot: Slot<A>, held: number): PoolEvent {
    return PoolEvent.LeakSuspected({ pool: this.driver.config.name, id: slot.id, held, holder: spanName(slot.holder) })
  }
}

/** The span that a fiber is in, or the fiber's own name. */
const spanName = (holder: unknown): string | undefined => {
  const fiber = holder as Fiber.RuntimeFiber<unknown, unknown> | undefined
  if (fiber === undefined) return undefined
  const span = Context.getOption(fiber.currentContext, Tracer.ParentSpan)
  return Option.isSome(span) && span.value._tag === "Span" ? span.value.name : FiberId.threadName(fiber.id())
}
