/**
 * The pool as plain synchronous state: every decision, no effect.
 *
 * Each method is one transition at time `now` (ms, monotonic). What has to be done outside (open, close, wake, tell) is
 * appended to `commands` for the interpreter; nothing here calls back, so a transition can't be re-entered, and a model
 * can drive it step by step. The diagram of the states stands in `Pool`.
 *
 * Invariants, after each transition:
 * - every slot is in `slots` exactly once until it is free, and `counts` are the numbers of slots by status
 * - `slots.size ≤ max`, unless `resize` has just lowered it
 * - `idle` holds the idle slots, `since` ascending: the top was used last
 * - nobody waits while a slot is idle and needs no check; whoever waits was there before whoever comes
 */
import type { CloseReason } from "../PoolEvent.ts"
import { PoolEvent } from "../PoolEvent.ts"
import type { Verdict } from "../Recycler.ts"
import type { Command, Config, ConnectFailure, Trouble } from "./model.ts"
import { retryDelay } from "./model.ts"
import type { Rejection } from "./rejection.ts"
import * as Slot from "./slot.ts"
import type { Waiter } from "./waiters.ts"
import * as Waiters from "./waiters.ts"

type Slots<A> = Slot.Slot<A>

/** @internal */
export class State<A> {
  readonly config: Config
  readonly idle: Array<Slots<A>> = []
  readonly slots = new Set<Slots<A>>()
  readonly counts: [number, number, number, number, number, number] = [0, 0, 0, 0, 0, 0]
  readonly waiters = new Waiters.Waiters<A>()
  readonly commands: Array<Command<A>> = []
  /** No deadline lies before this; `tick` makes it exact. */
  wakeAt = Number.POSITIVE_INFINITY
  min: number
  max: number
  /** Whether the minimum is kept open: from the start, or from the first need on. */
  warm: boolean
  generation = 0
  /** Set while opening fails; undefined after a success. */
  trouble: Trouble | undefined
  /** A check failed since the last one that passed: idle slots are suspect, so a check no longer counts as supply. */
  checksFail = false
  phase: "open" | "draining" | "closed" = "open"
  graceEnds = Number.POSITIVE_INFINITY
  saturatedSince: number | undefined
  rejectedWhileSaturated = 0
  readonly totals = {
    acquired: 0,
    reused: 0,
    queued: 0,
    timedOut: 0,
    rejected: 0,
    opened: 0,
    closed: 0,
    connectFailures: 0,
    leaksSuspected: 0,
    forced: 0
  }
  private nextId = 1

  constructor(config: Config) {
    this.config = config
    this.min = config.min
    this.max = config.max
    this.warm = config.warm
  }

  // ---------------------------------------------------------------------------------------------------------------
  // Borrowing
  // ---------------------------------------------------------------------------------------------------------------

  /** The fast way: the slot that was used last, if one is idle, fresh, and nobody waits. */
  take(now: number, holder: unknown): Slots<A> | undefined {
    let top = this.idle.length - 1
    // Past its lifetime, and the timer is late.
    while (top >= 0 && this.idle[top]!.expiresAt <= now) top--
    const slot = this.idle[top]
    if (slot === undefined || this.waiters.size > 0 || this.isStale(slot, now)) return undefined
    if (top === this.idle.length - 1) this.idle.pop()
    else this.idle.splice(top, 1)
    this.lend(slot, now, holder)
    return slot
  }

  /** The slow way: a place in the queue, or the reason why there is none. */
  enqueue(now: number, holder: unknown): Waiter<A> | Rejection {
    const rejection = this.refusal(now, holder)
    if (rejection !== undefined) {
      this.totals.rejected++
      return rejection
    }
    this.totals.queued++
    this.warm = true
    const deadline = now + this.config.acquireTimeout
    const waiter = this.waiters.push(now, deadline, holder)
    this.remind(deadline)
    this.provision(now)
    return waiter
  }

  /**
   * The waiter goes away, whatever it was given meanwhile. A slot handed to it is offered on in the same transition; a
   * connect begun on its behalf goes on for the others.
   */
  cancel(waiter: Waiter<A>, now: number): void {
    const { slot, status } = waiter
    waiter.status = Waiters.Gone
    waiter.slot = undefined
    if (status === Waiters.Waiting) {
      this.waiters.remove(waiter)
    } else if (status === Waiters.Granted && slot !== undefined && slot.status === Slot.Leased) {
      this.totals.acquired--
      if (slot.uses > 1) this.totals.reused--
      slot.uses--
      slot.holder = undefined
      this.settle(slot, now)
    }
    this.relieve(now)
  }

  // ---------------------------------------------------------------------------------------------------------------
  // Giving back
  // ---------------------------------------------------------------------------------------------------------------

  /**
   * The end of a lease. `verdict` is the recycler's word; `undefined` says that a reset has to run first. False when
   * the lease is over already, in which case nothing changes.
   */
  release(slot: Slots<A>, lease: number, now: number, verdict: Verdict | undefined): boolean {
    if (slot.status !== Slot.Leased || slot.lease !== lease) return false
    slot.holder = undefined
    if (verdict === undefined && this.retirement(slot, now) === undefined) {
      this.move(slot, Slot.Resetting, now)
      this.limit(slot, now + this.config.resetTimeout)
    } else if (verdict !== undefined && verdict._tag === "Close") {
      this.close(slot, slot.doomed ?? "recycled", now, verdict.detail)
    } else {
      this.settle(slot, now)
    }
    this.relieve(now)
    return true
  }

  /** The end of a lease whose resource must not be lent again. */
  discard(slot: Slots<A>, lease: number, now: number, reason: CloseReason, detail: unknown): void {
    if (slot.status !== Slot.Leased || slot.lease !== lease) return
    this.close(slot, slot.doomed ?? reason, now, detail)
    this.relieve(now)
  }

  /** A reset has ended. Ignored when it took too long and the slot was given up. */
  reset(slot: Slots<A>, now: number, outcome: Verdict | { readonly _tag: "Failed"; readonly error: unknown }): void {
    if (slot.status !== Slot.Resetting) return
    if (outcome._tag === "Keep") this.settle(slot, now)
    else if (outcome._tag === "Close") this.close(slot, "recycled", now, outcome.detail)
    else this.close(slot, "resetFailed", now, outcome.error)
  }

  /** A check has ended. Ignored when it took too long and the slot was given up. */
  checked(slot: Slots<A>, now: number, outcome: { readonly ok: boolean; readonly error?: unknown }): void {
    if (slot.status !== Slot.Checking) return
    this.checksFail = !outcome.ok
    if (outcome.ok) {
      this.settle(slot, now)
    } else {
      this.close(slot, "checkFailed", now, outcome.error)
    }
  }

  /** Close it now, or as soon as it is given back. */
  invalidate(slot: Slots<A>, now: number): void {
    this.doom(slot, "invalidated", now)
  }

  // ---------------------------------------------------------------------------------------------------------------
  // Opening and closing
  // ---------------------------------------------------------------------------------------------------------------

  /** A resource is open. False when nobody wants it any more: the interpreter closes it and reports `closed`. */
  opened(slot: Slots<A>, resource: A, now: number): boolean {
    if (slot.status !== Slot.Connecting) return false
    const took = now - slot.since
    slot.resource = resource
    slot.openedAt = now
    slot.expiresAt = now + this.config.lifetime * (1 - this.config.lifetimeJitter * this.config.random())
    this.totals.opened++
    this.tell(PoolEvent.Opened({ pool: this.config.name, id: slot.id, took, total: this.slots.size }))
    this.recovered(now)
    this.trouble = undefined
    this.settle(slot, now)
    this.provision(now)
    return true
  }

  /** Opening failed; nothing is left of the resource. */
  openFailed(slot: Slots<A>, failure: ConnectFailure, now: number): void {
    if (slot.status === Slot.Closing) {
      this.closed(slot, now)
    } else if (slot.status === Slot.Connecting) {
      this.free(slot)
      this.failed(slot.since, failure, now)
    }
  }

  /** A resource has been closed, successfully or not. */
  closed(slot: Slots<A>, now: number): void {
    if (slot.status === Slot.Closing) this.bury(slot, now, false)
  }

  // ---------------------------------------------------------------------------------------------------------------
  // Bounds and end
  // ---------------------------------------------------------------------------------------------------------------

  /** Ends the current generation: no resource that is open now is lent again. */
  expire(now: number): void {
    this.generation++
    for (const slot of [...this.idle]) this.doom(slot, "expired", now)
    this.provision(now)
  }

  /** Opens the minimum, and at least `least`. */
  warmUp(least: number, now: number): void {
    this.provision(now, Math.max(least, this.min))
  }

  resize(min: number, max: number, now: number): void {
    this.min = min
    this.max = max
    this.tell(PoolEvent.Resized({ pool: this.config.name, min, max }))
    while (this.slots.size - this.counts[Slot.Closing] > max && this.idle.length > 0) {
      this.close(this.idle[0]!, "resized", now)
    }
    this.remindIdle()
    this.provision(now)
    this.relieve(now)
  }

  /** Admits nobody any more, gives leases until `now + grace`, then takes them away. */
  drain(now: number, grace: number): void {
    if (this.phase !== "open") {
      if (this.phase === "draining" && now + grace < this.graceEnds) {
        this.graceEnds = now + grace
        this.remind(this.graceEnds)
      }
      return
    }
    this.phase = "draining"
    this.graceEnds = now + grace
    this.remind(this.graceEnds)
    this.tell(PoolEvent.Draining({ pool: this.config.name, leased: this.counts[Slot.Leased], grace }))
    while (this.waiters.head !== undefined) this.reject(this.waiters.head, { _tag: "Closed" })
    this.relieve(now)
    for (const slot of [...this.slots]) {
      if (slot.status === Slot.Connecting) this.abandon(slot, "drained", now)
      else this.doom(slot, "drained", now)
    }
    this.finish()
  }

  // ---------------------------------------------------------------------------------------------------------------
  // Time
  // ---------------------------------------------------------------------------------------------------------------

  /** Does all that is due, and sets `wakeAt` to when the next thing is. */
  tick(now: number): void {
    this.wakeAt = Number.POSITIVE_INFINITY
    for (let waiter = this.waiters.head; waiter !== undefined && waiter.deadline <= now; waiter = this.waiters.head) {
      const waited = now - waiter.since
      this.totals.timedOut++
      this.reject(waiter, { _tag: "Timeout", waited })
      this.tell(PoolEvent.AcquireTimedOut({ pool: this.config.name, waited, waiting: this.waiters.size }))
    }
    if (this.waiters.head !== undefined) this.remind(this.waiters.head.deadline)
    // Oldest first, so that the coldest of the idle go first.
    for (const slot of [...this.idle]) if (slot.status === Slot.Idle) this.tickIdle(slot, now)
    for (const slot of [...this.slots]) if (slot.status !== Slot.Idle) this.tickBusy(slot, now)
    this.provision(now)
    this.relieve(now)
  }

  private tickIdle(slot: Slots<A>, now: number): void {
    const idleEnds = slot.since + this.config.idleTimeout
    if (slot.expiresAt <= now) {
      this.close(slot, "lifetime", now)
    } else if (idleEnds <= now && this.live > this.min) {
      this.close(slot, "idle", now)
    } else {
      this.remind(slot.expiresAt)
      if (this.live > this.min) this.remind(idleEnds)
    }
  }

  private tickBusy(slot: Slots<A>, now: number): void {
    if (slot.status === Slot.Leased) {
      this.tickLeased(slot, now)
    } else if (slot.deadline > now) {
      this.remind(slot.deadline)
    } else if (slot.status === Slot.Connecting) {
      const { since } = slot
      this.abandon(slot, "abandoned", now)
      this.failed(since, { kind: "failed", error: this.config.connectTimedOut(now - since) }, now)
    } else if (slot.status === Slot.Checking) {
      this.checksFail = true
      this.close(slot, "checkTimedOut", now)
    } else if (slot.status === Slot.Resetting) {
      this.close(slot, "resetTimedOut", now)
    } else {
      // Closing hangs. Its slot is given back all the same: capacity must not be lost for ever.
      this.bury(slot, now, true)
    }
  }

  private tickLeased(slot: Slots<A>, now: number): void {
    if (this.graceEnds <= now) {
      this.totals.forced++
      this.close(slot, "forced", now)
      return
    }
    this.remind(this.graceEnds)
    if (slot.warned || this.config.leakAfter === Number.POSITIVE_INFINITY) return
    const warnAt = slot.since + this.config.leakAfter
    if (warnAt > now) {
      this.remind(warnAt)
    } else {
      slot.warned = true
      this.totals.leaksSuspected++
      this.commands.push({ _tag: "Leak", slot, held: now - slot.since })
    }
  }

  // ---------------------------------------------------------------------------------------------------------------
  // Readings
  // ---------------------------------------------------------------------------------------------------------------

  /** Slots that are or will be of use: all but those that close. */
  get live(): number {
    return this.slots.size - this.counts[Slot.Closing]
  }

  /** Open resources. */
  get open(): number {
    return this.live - this.counts[Slot.Connecting]
  }

  oldestWait(now: number): number {
    return this.waiters.head === undefined ? 0 : now - this.waiters.head.since
  }

  // ---------------------------------------------------------------------------------------------------------------
  // Mechanism
  // ---------------------------------------------------------------------------------------------------------------

  private isStale(slot: Slots<A>, now: number): boolean {
    return this.config.checkAfter !== Number.POSITIVE_INFINITY && slot.since + this.config.checkAfter <= now
  }

  /** Why a caller can't even wait. */
  private refusal(now: number, holder: unknown): Rejection | undefined {
    if (this.phase !== "open") return { _tag: "Closed" }
    const { trouble } = this
    if (trouble?.down === true && this.open === 0 && (this.counts[Slot.Connecting] > 0 || now < trouble.nextAttempt)) {
      return { _tag: "Unavailable", trouble }
    }
    if (this.counts[Slot.Leased] >= this.max && this.holdsAll(holder)) {
      return { _tag: "Nested", held: this.counts[Slot.Leased] }
    }
    return this.isFull ? this.saturated(now) : undefined
  }

  /** As many callers as allowed are here: `max` and `maxWaiting` together bound those who hold or wait. */
  private get isFull(): boolean {
    return this.counts[Slot.Leased] + this.waiters.size >= this.max + this.config.maxWaiting
  }

  private saturated(now: number): Rejection {
    const oldestWait = this.oldestWait(now)
    this.rejectedWhileSaturated++
    if (this.saturatedSince === undefined) {
      this.saturatedSince = now
      this.tell(PoolEvent.Saturated({ pool: this.config.name, waiting: this.waiters.size, oldestWait }))
    }
    const retryAfter = Math.min(Math.max(oldestWait, 10), this.config.acquireTimeout)
    return { _tag: "Saturated", oldestWait, retryAfter }
  }

  private relieve(now: number): void {
    if (this.saturatedSince === undefined || this.waiters.size > 0 || this.isFull) return
    const lasted = now - this.saturatedSince
    this.tell(PoolEvent.Relieved({ pool: this.config.name, rejected: this.rejectedWhileSaturated, lasted }))
    this.saturatedSince = undefined
    this.rejectedWhileSaturated = 0
  }

  /** Whether every slot is this holder's own lease: then waiting would never end. Stops at the first that isn't. */
  private holdsAll(holder: unknown): boolean {
    if (holder === undefined) return false
    for (const slot of this.slots) if (slot.status !== Slot.Leased || slot.holder !== holder) return false
    return true
  }

  private lend(slot: Slots<A>, now: number, holder: unknown): void {
    this.move(slot, Slot.Leased, now)
    slot.holder = holder
    slot.lease++
    slot.warned = false
    this.totals.acquired++
    if (slot.uses++ > 0) this.totals.reused++
    this.remind(now + this.config.leakAfter)
  }

  /** A slot is of no use to its holder any more: close it, or give it to the oldest waiter, or keep it. */
  private settle(slot: Slots<A>, now: number): void {
    const reason = this.retirement(slot, now)
    if (reason !== undefined) {
      this.close(slot, reason, now)
      return
    }
    const waiter = this.waiters.head
    if (waiter !== undefined) {
      this.waiters.remove(waiter)
      this.lend(slot, now, waiter.holder)
      waiter.status = Waiters.Granted
      waiter.slot = slot
      this.commands.push({ _tag: "Wake", waiter })
      this.relieve(now)
      return
    }
    this.move(slot, Slot.Idle, now)
    this.idle.push(slot)
    this.remind(slot.expiresAt)
    this.remindIdle()
  }

  private retirement(slot: Slots<A>, now: number): CloseReason | undefined {
    if (slot.doomed !== undefined) return slot.doomed
    if (this.phase !== "open") return "drained"
    if (slot.generation !== this.generation) return "expired"
    if (slot.uses >= this.config.maxUses) return "maxUses"
    if (slot.expiresAt <= now) return "lifetime"
    if (this.live > this.max) return "resized"
    return undefined
  }

  /** At once, unless somebody holds it: what a check or a reset would say of it matters no more. */
  private doom(slot: Slots<A>, reason: CloseReason, now: number): void {
    if (slot.status === Slot.Leased) slot.doomed ??= reason
    else if (slot.status !== Slot.Closing) this.close(slot, reason, now)
  }

  private reject(waiter: Waiter<A>, rejection: Rejection): void {
    this.waiters.remove(waiter)
    waiter.status = Waiters.Rejected
    waiter.rejection = rejection
    this.commands.push({ _tag: "Wake", waiter })
  }

  /**
   * Opens what is needed: one for each waiter that no slot on its way will serve, and up to the minimum. A waiter waits
   * for a resource, not for its resource. Idle slots that were silent for long are checked before they are lent.
   */
  private provision(now: number, least = this.warm ? this.min : 0): void {
    if (this.phase !== "open") return
    while (this.waiters.size > this.supply) {
      const slot = this.idle[this.idle.length - 1]
      if (slot === undefined) break
      if (slot.expiresAt <= now) {
        this.close(slot, "lifetime", now)
        continue
      }
      this.idle.pop()
      this.move(slot, Slot.Checking, now)
      this.limit(slot, now + this.config.checkTimeout)
      this.commands.push({ _tag: "Check", slot })
    }
    while (this.waiters.size > this.supply || this.live < least) {
      if (this.trouble !== undefined && now < this.trouble.nextAttempt) {
        this.remind(this.trouble.nextAttempt)
        this.judge(this.trouble, now)
        return
      }
      if (this.slots.size >= this.max) return
      if (this.counts[Slot.Connecting] >= (this.trouble === undefined ? this.config.maxConnecting : 1)) return
      this.connect(now)
    }
  }

  /** Slots on their way to a waiter. */
  private get supply(): number {
    const { checksFail, counts } = this
    return counts[Slot.Connecting] + counts[Slot.Resetting] + (checksFail ? 0 : counts[Slot.Checking])
  }

  private connect(now: number): void {
    const slot: Slots<A> = {
      id: this.nextId++,
      generation: this.generation,
      status: Slot.Connecting,
      resource: undefined,
      since: now,
      openedAt: now,
      expiresAt: Number.POSITIVE_INFINITY,
      deadline: Number.POSITIVE_INFINITY,
      uses: 0,
      lease: 0,
      holder: undefined,
      doomed: undefined,
      detail: undefined,
      warned: false
    }
    this.slots.add(slot)
    this.counts[Slot.Connecting]++
    this.remindIdle()
    this.limit(slot, now + this.config.connectTimeout)
    this.commands.push({ _tag: "Connect", slot })
  }

  private failed(began: number, failure: ConnectFailure, now: number): void {
    const failures = (this.trouble?.failures ?? 0) + 1
    const retryIn = retryDelay(this.config, failures)
    const capacity = failure.kind === "capacity"
    if (capacity) this.recovered(now)
    this.trouble = {
      error: failure.error,
      kind: failure.kind,
      failures,
      since: this.trouble !== undefined && this.goesOn(this.trouble, capacity, began) ? this.trouble.since : began,
      nextAttempt: now + retryIn,
      down: !capacity && this.trouble?.down === true
    }
    this.totals.connectFailures++
    const { name } = this.config
    this.tell(
      capacity
        ? PoolEvent.AtCapacity({ pool: name, error: failure.error, total: this.open, retryIn })
        : PoolEvent.ConnectFailed({ pool: name, error: failure.error, failures, retryIn })
    )
    this.provision(now)
  }

  /** Whether it is the same trouble still. What failed once, long before anybody tried again, says nothing about now. */
  private goesOn(trouble: Trouble, capacity: boolean, began: number): boolean {
    return (
      (trouble.kind === "capacity") === capacity &&
      (trouble.down || began - trouble.nextAttempt < this.config.unavailableAfter)
    )
  }

  /** The other side answers, be it by a refusal for lack of capacity. */
  private recovered(now: number): void {
    if (this.trouble?.down !== true) return
    this.tell(PoolEvent.Available({ pool: this.config.name, lasted: now - this.trouble.since }))
  }

  /**
   * Down is: one is needed, nothing is open, nothing being opened, and opening has been failing for `unavailableAfter`
   * (or for a reason that time won't mend). A blip, such as a restart, is waited out; a refusal for lack of capacity is
   * no fault.
   */
  private judge(trouble: Trouble, now: number): void {
    if (trouble.kind === "capacity" || this.open > 0 || this.counts[Slot.Connecting] > 0) return
    const downAt = trouble.since + this.config.unavailableAfter
    if (!trouble.down && trouble.kind !== "fatal" && now < downAt) {
      this.remind(downAt)
      return
    }
    if (!trouble.down) {
      this.trouble = trouble = { ...trouble, down: true }
      const lasted = now - trouble.since
      this.tell(PoolEvent.Unavailable({ pool: this.config.name, error: trouble.error, lasted }))
    }
    while (this.waiters.head !== undefined) {
      this.totals.rejected++
      this.reject(this.waiters.head, { _tag: "Unavailable", trouble })
    }
    this.relieve(now)
  }

  private close(slot: Slots<A>, reason: CloseReason, now: number, detail?: unknown): void {
    if (slot.status === Slot.Idle) {
      const index = this.idle.indexOf(slot)
      if (index >= 0) this.idle.splice(index, 1)
    }
    slot.doomed = reason
    slot.detail = detail
    slot.holder = undefined
    this.move(slot, Slot.Closing, now)
    this.limit(slot, now + this.config.closeTimeout)
    this.commands.push({ _tag: "Close", slot })
    this.provision(now)
  }

  /** Gives up on a connect. Its slot stays taken until it has really ended, or the server could see one too many. */
  private abandon(slot: Slots<A>, reason: CloseReason, now: number): void {
    slot.doomed = reason
    this.move(slot, Slot.Closing, now)
    this.limit(slot, now + this.config.closeTimeout)
    this.commands.push({ _tag: "Abandon", slot })
  }

  private bury(slot: Slots<A>, now: number, timedOut: boolean): void {
    this.free(slot)
    this.totals.closed++
    this.tell(
      PoolEvent.Closed({
        pool: this.config.name,
        id: slot.id,
        reason: slot.doomed ?? "drained",
        detail: slot.detail,
        age: now - slot.openedAt,
        uses: slot.uses,
        timedOut
      })
    )
    this.provision(now)
    this.finish()
  }

  private free(slot: Slots<A>): void {
    this.counts[slot.status as Exclude<Slot.Status, 6>]--
    slot.status = Slot.Free
    this.slots.delete(slot)
  }

  private finish(): void {
    if (this.phase !== "draining" || this.slots.size > 0) return
    this.phase = "closed"
    this.tell(PoolEvent.Drained({ pool: this.config.name, forced: this.totals.forced }))
    this.commands.push({ _tag: "Drained" })
  }

  private move(slot: Slots<A>, status: Exclude<Slot.Status, 6>, now: number): void {
    this.counts[slot.status as Exclude<Slot.Status, 6>]--
    this.counts[status]++
    slot.status = status
    slot.since = now
  }

  private limit(slot: Slots<A>, deadline: number): void {
    slot.deadline = deadline
    this.remind(deadline)
  }

  private remind(at: number): void {
    if (at < this.wakeAt) this.wakeAt = at
  }

  /** To be called when there are more idle slots, or fewer have to be kept: the idle timeout may begin to count. */
  private remindIdle(): void {
    const coldest = this.idle[0]
    if (coldest !== undefined && this.live > this.min) this.remind(coldest.since + this.config.idleTimeout)
  }

  private tell(event: PoolEvent): void {
    this.commands.push({ _tag: "Event", event })
  }
}
