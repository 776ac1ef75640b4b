/**
 * Runs what the lanes' state decides: sends flushes, wakes callers, keeps the time.
 *
 * Flushes run in fibers of the lanes, with nothing of a caller: neither its transaction nor its spans nor its interrupts.
 * A caller is handed its outcome in its own ticket, and is only interruptible while it waits.
 *
 * @internal
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as FiberId from "effect/FiberId"
import * as Runtime from "effect/Runtime"
import * as RuntimeFlags from "effect/RuntimeFlags"
import type { Scheduler } from "effect/Scheduler"
import type * as Scope from "effect/Scope"
import type { Config, Kind, Refusal } from "./state.ts"
import { State } from "./state.ts"
import * as Ticket from "./ticket.ts"

/** @internal */
export interface Options<A, E> extends Omit<Config, "random"> {
  /** Commits all of the items or none of them, in their order. A barrier comes alone. */
  readonly flush: (items: ReadonlyArray<A>) => Effect.Effect<unknown, E>
  readonly kindOf: (error: E) => Kind
  /** How long an operation may wait, if it doesn't say. */
  readonly timeout: Duration.DurationInput
  /** How long the end of the scope waits for what is queued and in flight. */
  readonly grace: Duration.DurationInput
  /** Is told how many operations were queued again, and after what kind of failure. */
  readonly onRetry?: (kind: Kind, operations: number) => void
}

/** Why an operation was not done, beside the errors of a flush. @internal */
export type Unserved =
  | Refusal
  /** `cause` is why it had to wait again, if it was tried before. */
  | { readonly _tag: "Expired"; readonly waited: number; readonly cause: Cause.Cause<unknown> | undefined }

/** @internal */
export class NotServed {
  readonly _tag = "NotServed"
  readonly why: Unserved
  constructor(why: Unserved) {
    this.why = why
  }
}

/** @internal */
export interface Stats {
  readonly queued: number
  readonly queuedBytes: number
  readonly inFlight: number
  /** Since the beginning. */
  readonly flushes: number
  readonly flushed: number
  readonly bytes: number
  /** The most operations in one flush. */
  readonly largest: number
  /** Flushes that were refused and done again, one operation at a time. */
  readonly split: number
  /** Operations that were put back into the queue. */
  readonly retried: number
  readonly full: number
  readonly expired: number
}

/** @internal */
export interface Lanes<A, E> {
  /** Succeeds once it is committed, with the number of operations that were committed together. */
  readonly submit: (
    operation: Ticket.Operation<A>,
    timeout?: Duration.DurationInput
  ) => Effect.Effect<number, E | NotServed>
  readonly stats: () => Stats
  /** How long the operation that waits longest has been waiting, in milliseconds. Looks at each thread. */
  readonly oldest: () => number
}

/** @internal */
export const make = <A, E>(options: Options<A, E>): Effect.Effect<Lanes<A, E>, never, Scope.Scope> =>
  Effect.gen(function* () {
    const { fiberRefs, runtimeFlags } = yield* Effect.runtime<never>()
    const clock = yield* Effect.clock
    const random = yield* Effect.random
    const runtime = Runtime.make({
      // Not the given one: whoever builds this may be within a transaction or a span that ends long before.
      context: Context.empty(),
      fiberRefs,
      // Effect counts and times each fiber, which takes longer than to start one. A flush has metrics of its own.
      runtimeFlags: RuntimeFlags.disable(runtimeFlags, RuntimeFlags.RuntimeMetrics)
    })
    const unsafeRandom = () => Runtime.runSync(runtime, random.next)
    const scheduler = yield* Effect.withFiberRuntime<Scheduler>((fiber) => Effect.succeed(fiber.currentScheduler))
    const state = new State<A>({ ...options, random: unsafeRandom })
    const interpreter = new Interpreter(options, state, runtime, clock, scheduler)
    yield* Effect.addFinalizer(() => interpreter.close)
    return {
      submit: (operation, timeout) => interpreter.submit(operation, timeout),
      stats: () => interpreter.stats(),
      oldest: () => interpreter.oldest()
    }
  })

/**
 * Sends one flush after the other. There is one for each lane that was ever needed: to start a fiber for each flush would take
 * longer than all that the lanes do.
 */
interface Sender<A> {
  readonly fiber: Fiber.RuntimeFiber<never>
  /** In flight, or about to be. */
  flush: Ticket.Flush<A> | undefined
  wake: () => void
}

class Interpreter<A, E> {
  private readonly options: Options<A, E>
  private readonly state: State<A>
  private readonly runtime: Runtime.Runtime<never>
  private readonly clock: Clock.Clock
  private readonly scheduler: Scheduler
  private readonly origin: bigint
  private readonly timeout: number
  private readonly closed = Deferred.unsafeMake<void>(FiberId.none)
  private readonly senders = new Set<Sender<A>>()
  private readonly idle: Array<Sender<A>> = []
  private timer: Fiber.RuntimeFiber<void> | undefined
  private armedAt = Number.POSITIVE_INFINITY
  private dispatching = false

  constructor(
    options: Options<A, E>,
    state: State<A>,
    runtime: Runtime.Runtime<never>,
    clock: Clock.Clock,
    scheduler: Scheduler
  ) {
    this.options = options
    this.state = state
    this.runtime = runtime
    this.clock = clock
    this.scheduler = scheduler
    this.origin = clock.unsafeCurrentTimeNanos()
    this.timeout = Duration.toMillis(options.timeout)
  }

  submit(operation: Ticket.Operation<A>, timeout?: Duration.DurationInput): Effect.Effect<number, E | NotServed> {
    return Effect.uninterruptibleMask((restore) => {
      const now = this.now()
      const patience = timeout === undefined ? this.timeout : Duration.toMillis(timeout)
      const ticket = this.step(() => this.state.submit(operation, now + patience, now))
      if ("_tag" in ticket) return Effect.fail(new NotServed(ticket))
      const answered = Effect.async<void>((resume) => {
        if (ticket.status === Ticket.Settled) resume(Effect.void)
        else ticket.resume = () => resume(Effect.void)
      })
      return Effect.matchCauseEffect(restore(answered), {
        onFailure: (cause): Effect.Effect<number, E | NotServed> => {
          this.step(() => this.state.cancel(ticket))
          return Effect.failCause(cause)
        },
        onSuccess: () => this.result(ticket.outcome!)
      })
    })
  }

  stats(): Stats {
    const { inFlight, queued, queuedBytes, totals } = this.state
    return { queued, queuedBytes, inFlight: inFlight.size, ...totals }
  }

  oldest(): number {
    let since = Number.POSITIVE_INFINITY
    for (const { head } of this.state.lines.values()) if (head !== undefined) since = Math.min(since, head.since)
    return Number.isFinite(since) ? this.now() - since : 0
  }

  /** Gives what is queued its grace, then takes the rest back. */
  readonly close: Effect.Effect<void> = Effect.suspend(() => {
    const grace = Duration.toMillis(this.options.grace)
    this.step(() => this.state.close(this.now(), grace))
    return Deferred.await(this.closed)
  })

  private result(outcome: Ticket.Outcome): Effect.Effect<number, E | NotServed> {
    switch (outcome._tag) {
      case "Done":
        return Effect.succeed(outcome.batch)
      case "Failed":
        return Effect.failCause(outcome.failure as Cause.Cause<E>)
      case "Expired": {
        const cause = outcome.failure as Cause.Cause<unknown> | undefined
        return Effect.fail(new NotServed({ _tag: "Expired", waited: outcome.waited, cause }))
      }
      case "Closed":
        return Effect.fail(new NotServed(outcome))
    }
  }

  private now(): number {
    return Number(this.clock.unsafeCurrentTimeNanos() - this.origin) / 1e6
  }

  /** One transition of the state, and what follows from it. */
  private step<B>(transition: () => B): B {
    const result = transition()
    const { settled } = this.state
    if (settled.length > 0) {
      for (let i = 0; i < settled.length; i++) settled[i]!.resume?.()
      settled.length = 0
    }
    if (this.state.phase === "closed") this.finish()
    else if (this.state.queued > 0) this.dispatchSoon()
    if (this.state.wakeAt < this.armedAt && this.state.phase !== "closed") this.arm()
    return result
  }

  /** Once all fibers that can run have run: what they submit meanwhile goes together. */
  private dispatchSoon(): void {
    if (this.dispatching) return
    this.dispatching = true
    this.scheduler.scheduleTask(() => {
      this.dispatching = false
      for (const flush of this.state.dispatch(this.now())) this.send(flush)
      if (this.state.wakeAt < this.armedAt) this.arm()
    }, 0)
  }

  private send(flush: Ticket.Flush<A>): void {
    const sender = this.idle.pop()
    if (sender === undefined) {
      this.startSender(flush)
    } else {
      sender.flush = flush
      sender.wake()
    }
  }

  private startSender(first: Ticket.Flush<A>): void {
    const run: Effect.Effect<never> = Effect.suspend(() =>
      Effect.matchCauseEffect(this.flush(sender.flush!), { onFailure: landed, onSuccess: landedWell })
    )
    const landed = (outcome: Cause.Cause<E> | undefined) => {
      this.idle.push(sender)
      this.landed(sender, outcome)
      return next
    }
    const landedWell = () => landed(undefined)
    const next = Effect.async<never>((resume) => {
      sender.wake = () => resume(run)
      if (sender.flush !== undefined) sender.wake()
    })
    const sender: Sender<A> = { flush: first, wake: () => {}, fiber: this.fork(run) }
    this.senders.add(sender)
    sender.fiber.addObserver((exit) => {
      this.senders.delete(sender)
      if (sender.flush !== undefined) this.landed(sender, Exit.isFailure(exit) ? exit.cause : undefined)
    })
  }

  private flush({ tickets }: Ticket.Flush<A>): Effect.Effect<unknown, E> {
    try {
      return this.options.flush(tickets.map(({ item }) => item))
    } catch (defect) {
      return Effect.die(defect)
    }
  }

  private landed(sender: Sender<A>, failure: Cause.Cause<E> | undefined): void {
    const flush = sender.flush!
    sender.flush = undefined
    this.step(() => {
      if (failure === undefined) this.state.succeeded(flush)
      else this.failed(flush, failure)
    })
  }

  private failed(flush: Ticket.Flush<A>, cause: Cause.Cause<E>): void {
    const kind = this.kindOf(cause)
    const before = this.state.totals.retried
    this.state.failed(flush, kind, cause, this.now())
    const retried = this.state.totals.retried - before
    if (retried > 0) this.options.onRetry?.(kind, retried)
  }

  private kindOf(cause: Cause.Cause<E>): Kind {
    const failure = Cause.failureOption(cause)
    // A defect comes from what is in the batch; an interrupt from the end of the grace, or from the client.
    return failure._tag === "Some"
      ? this.options.kindOf(failure.value)
      : Cause.isInterrupted(cause)
        ? "lost"
        : "refused"
  }

  /** One timer for all deadlines. It is set anew only when something is due sooner than it. */
  private arm(): void {
    this.timer?.unsafeInterruptAsFork(FiberId.none)
    this.armedAt = this.state.wakeAt
    // Rounded up: woken a moment too soon, it would find nothing to do but to sleep for that moment.
    const sleep = Math.min(Math.max(Math.ceil(this.armedAt - this.now()), 0), maxSleep)
    this.timer = this.fork(
      Effect.map(Clock.sleep(sleep), () => {
        this.timer = undefined
        this.armedAt = Number.POSITIVE_INFINITY
        const now = this.now()
        this.step(() => this.state.tick(now))
        // What is still in flight is not waited for any longer.
        if (this.state.graceEnds <= now) this.endSenders()
      })
    )
  }

  private finish(): void {
    this.timer?.unsafeInterruptAsFork(FiberId.none)
    this.timer = undefined
    this.endSenders()
    Deferred.unsafeDone(this.closed, Effect.void)
  }

  private endSenders(): void {
    for (const { fiber } of this.senders) fiber.unsafeInterruptAsFork(FiberId.none)
  }

  private fork<B>(effect: Effect.Effect<B>): Fiber.RuntimeFiber<B> {
    return Runtime.runFork(this.runtime, effect, { immediate: false })
  }
}

/**
 * Milliseconds. To take the timer back with each lone operation would cost more than the operation's own part of it; so
 * it rings in vain once a second while there is something to do, and holds no process that has nothing to do any more.
 */
const maxSleep = 1000
