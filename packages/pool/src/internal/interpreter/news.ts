/**
 * Tells observers and readers of events what happens. Their defects are theirs: they are logged, and cost no slot.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import type { PoolEvent } from "../../PoolEvent.ts"
import type { Observer } from "../../PoolOptions.ts"
import type { Fork } from "./driver.ts"

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

  /** Whether somebody wants to know how long leases last. */
  get timesLeases(): boolean {
    return this.observer?.released !== undefined
  }

  acquired(waitMillis: number): void {
    if (this.observer?.acquired === undefined) return
    try {
      this.observer.acquired(waitMillis)
    } catch (defect) {
      this.defect("its observer threw", defect)
    }
  }

  released(useMillis: number): void {
    if (this.observer?.released === undefined) return
    try {
      this.observer.released(useMillis)
    } catch (defect) {
      this.defect("its observer threw", defect)
    }
  }

  publish(event: PoolEvent): void {
    if (this.observer?.event !== undefined) this.tell(this.observer.event, event)
    for (const listener of this.listeners) this.tell(listener, event)
  }

  defect(what: string, defect: unknown): void {
    this.fork(Effect.logWarning(`Pool "${this.pool}": ${what}`, Cause.die(defect)))
  }

  private tell(listener: Listener, event: PoolEvent): void {
    try {
      listener(event)
    } catch (defect) {
      this.defect("its observer threw", defect)
    }
  }
}
