/**
 * The pool as one plain object: who holds what, who waits, what is being opened and closed, and what is to be done.
 *
 * It only keeps the books. What to write into them is decided by the modules beside it, each of which knows those above
 * it in this list, and none below:
 *
 * - `slot`, `waiters`: what the books are about
 * - `saturation`: whether one more caller may wait
 * - `outage`: whether the other side is down, and when to try it again
 * - `supply`: what is opened, checked and closed
 * - `lending`: who gets what, and what becomes of what is given back
 * - `outcomes`: what has come of an open, a check, a reset or a close
 * - `upkeep`: what time brings with it
 * - `bounds`: other limits, a new generation, the end
 *
 * `transitions` lists what can happen to a pool. What has to be done outside is appended to `commands`; nothing calls
 * back, so a transition can't be re-entered, and a model can drive the pool step by step. The diagram of a slot's states
 * stands in `Pool`.
 */
import type { PoolEvent } from "../../PoolEvent.ts"
import type { Command } from "./command.ts"
import type { Config } from "./config.ts"
import type { Trouble } from "./outage.ts"
import type { Rejection } from "./rejection.ts"
import * as Slot from "./slot.ts"
import type { Waiter } from "./waiters.ts"
import * as Waiters from "./waiters.ts"

/** @internal */
export class State<A> {
  readonly config: Config

  // Slots. Invariant: each is in `slots` exactly once until it is free, and `counts` says how many have which status.
  // Invariant: `slots.size ≤ max`, unless `resize` has just lowered it. Whatever exists on the other side has a slot.

  readonly slots = new Set<Slot.Slot<A>>()
  readonly counts: [number, number, number, number, number, number] = [0, 0, 0, 0, 0, 0]
  /** The idle ones, `since` ascending: the top was used last, so that those beyond need grow cold at the bottom. */
  readonly idle: Array<Slot.Slot<A>> = []
  min: number
  max: number
  /** Whether the minimum is kept open. */
  warm: boolean
  /** Slots of an older generation are not lent again. */
  generation = 0
  private nextId = 1

  // Callers. Invariant: nobody waits while a slot is idle and needs no check; the head was there before all others.
  // Invariant: those who hold and those who wait are `max + maxWaiting` at most, unless `resize` has just lowered it.

  readonly waiters = new Waiters.Waiters<A>()
  /** Set from the first caller that is turned away until there is room again and nobody waits. */
  saturation: { readonly since: number; rejected: number } | undefined

  // The other side. Invariant: `trouble` is set while opening fails, and undefined after a success.

  trouble: Trouble | undefined
  /** A check failed since the last one that passed: idle slots are suspect, so a check no longer counts as supply. */
  checksFail = false

  // Time. Invariant: nothing is due before `wakeAt`; a tick makes it exact.

  wakeAt = Number.POSITIVE_INFINITY

  // The end. Invariant: from draining on nobody waits and nothing is opened; closed is when no slot is left.

  phase: "open" | "draining" | "closed" = "open"
  closesSince = Number.POSITIVE_INFINITY
  graceEnds = Number.POSITIVE_INFINITY

  /** To be carried out by the interpreter, in order. */
  readonly commands: Array<Command<A>> = []
  /** Since the pool was made. */
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

  constructor(config: Config) {
    this.config = config
    this.min = config.min
    this.max = config.max
    this.warm = config.warm
  }

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
  // Entries in the books
  // ---------------------------------------------------------------------------------------------------------------

  add(now: number): Slot.Slot<A> {
    const slot = Slot.make<A>(this.nextId++, this.generation, now)
    this.slots.add(slot)
    this.counts[Slot.Connecting]++
    return slot
  }

  move(now: number, slot: Slot.Slot<A>, status: Slot.Taken): void {
    this.counts[slot.status as Slot.Taken]--
    this.counts[status]++
    slot.status = status
    slot.since = now
  }

  free(slot: Slot.Slot<A>): void {
    this.counts[slot.status as Slot.Taken]--
    slot.status = Slot.Free
    this.slots.delete(slot)
    // An alarm for nothing would hold a process that has nothing else to do.
    if (this.slots.size + this.waiters.size === 0 && this.trouble === undefined) this.wakeAt = Number.POSITIVE_INFINITY
  }

  /** Takes an idle slot off the stack. */
  unstack(slot: Slot.Slot<A>): void {
    const { idle } = this
    if (idle[idle.length - 1] === slot) idle.pop()
    else idle.splice(idle.indexOf(slot), 1)
  }

  turnAway(waiter: Waiter<A>, rejection: Rejection): void {
    this.waiters.remove(waiter)
    waiter.status = Waiters.Rejected
    waiter.rejection = rejection
    this.commands.push({ _tag: "Wake", waiter })
  }

  remind(at: number): void {
    if (at < this.wakeAt) this.wakeAt = at
  }

  /** By when what the slot does now has to be done. */
  limit(slot: Slot.Slot<A>, deadline: number): void {
    slot.deadline = deadline
    this.remind(deadline)
  }

  /** To be called when there are more idle slots, or fewer have to be kept: the idle timeout may begin to count. */
  remindIdle(): void {
    const coldest = this.idle[0]
    if (coldest !== undefined && this.live > this.min) this.remind(coldest.since + this.config.idleTimeout)
  }

  tell(event: PoolEvent): void {
    this.commands.push({ _tag: "Event", event })
  }
}
