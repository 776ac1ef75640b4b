/**
 * The one timer for all deadlines. It is set anew only when something is due sooner than it.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as FiberId from "effect/FiberId"
import type { Fork } from "./fork.ts"

/** Timers of the platform hold no more than 24.8 days. */
const longestSleep = 24 * 60 * 60 * 1000

/** @internal */
export class Alarm {
  /** When it rings, in ms of the monotonic clock. */
  at = Number.POSITIVE_INFINITY
  private timer: Fiber.RuntimeFiber<void> | undefined
  private readonly fork: Fork<never>
  private readonly now: () => number
  private readonly ring: () => void

  constructor(fork: Fork<never>, now: () => number, ring: () => void) {
    this.fork = fork
    this.now = now
    this.ring = ring
  }

  set(at: number): void {
    this.stop()
    // The fiber may start late, after a burst of callers: how long it sleeps is decided when it does.
    // In whole milliseconds, rounded up: what is left of a fraction may be too short to bring the time on at all.
    const sleep = Effect.suspend(() => Clock.sleep(Math.min(Math.max(Math.ceil(at - this.now()), 0), longestSleep)))
    const timer = this.fork(
      Effect.map(Effect.interruptible(sleep), () => {
        if (this.timer !== timer) return
        this.timer = undefined
        this.at = Number.POSITIVE_INFINITY
        this.ring()
      })
    )
    if (timer === undefined) return
    this.timer = timer
    this.at = at
  }

  stop(): void {
    this.timer?.unsafeInterruptAsFork(FiberId.none)
    this.timer = undefined
    this.at = Number.POSITIVE_INFINITY
  }
}
