/**
 * Tells observers and readers of events what happens. Their defects are theirs: they are logged, and cost no slot.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import type { PoolEvent } from "../../PoolEvent.ts"
import type { Observer } from "../../PoolOptions.ts"
import type { Fork } from "./fork.ts"

/** @internal */
export type Listener = (event: PoolEvent) => void

/** @internal */
export class News {
  readonly listeners = new Set<Listener>()
  private readonly pool: string
  private readonly observer: Observer | undefined
  private readonly fork: Fork<never>

  constructor(pool: string, observer: Observer | undefined, fork: Fork<never>) {
    this.pool = pool
    this.observer = observer
    this.fork = fork
  }

  /** Whether somebody wants to know how long callers wait, be it no longer than taking an idle one takes. */
  get timesWaits(): boolean {
    return this.observer?.acquired !== undefined
  }

  /** Whether somebody wants to know how long leases last. */
  get timesLeases(): boolean {
    return this.observer?.released !== undefined
  }

  acquired(waitMillis: number): void {
    this.call(this.observer?.acquired, waitMillis)
  }

  released(useMillis: number): void {
    this.call(this.observer?.released, useMillis)
  }

  publish(event: PoolEvent): void {
    this.call(this.observer?.event, event)
    for (const listener of this.listeners) this.call(listener, event)
  }

  private call<News>(listener: ((news: News) => void) | undefined, news: News): void {
    if (listener === undefined) return
    try {
      listener.call(this.observer, news)
    } catch (defect) {
      this.fork(Effect.logWarning(`Pool "${this.pool}": its observer threw`, Cause.die(defect)))
    }
  }
}
