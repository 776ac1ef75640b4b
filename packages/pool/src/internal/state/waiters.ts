/**
 * The wait queue: first come, first served, with O(1) removal from the middle.
 *
 * An intrusive doubly linked list: the waiter is its own node, so a waiter that times out or is interrupted leaves
 * without a search.
 */
import type * as Effect from "effect/Effect"
import type { Rejection } from "./rejection.ts"
import type { Slot } from "./slot.ts"

/** @internal */
export const Waiting = 0
/** @internal */
export const Granted = 1
/** @internal */
export const Rejected = 2
/** @internal */
export const Gone = 3

/**
 * A class: of object literals that are often alive when garbage is collected V8 takes it that they live long. It makes the next
 * ones where garbage is hardly ever looked for, and these hold on to all that they refer to.
 *
 * @internal
 */
export class Waiter<A> {
  status: typeof Waiting | typeof Granted | typeof Rejected | typeof Gone = Waiting
  /** When the caller began to wait and when it gives up, in ms of the monotonic clock. */
  readonly since: number
  readonly deadline: number
  /** The fiber that waits; opaque to the state. */
  readonly holder: unknown
  /** Set with `Granted`. */
  slot: Slot<A> | undefined = undefined
  /** Set with `Rejected`. */
  rejection: Rejection | undefined = undefined
  /** Wakes the fiber; set by the interpreter once the fiber is suspended, opaque to the state. */
  resume: ((effect: Effect.Effect<void>) => void) | undefined = undefined
  previous: Waiter<A> | undefined = undefined
  next: Waiter<A> | undefined = undefined

  constructor(since: number, deadline: number, holder: unknown) {
    this.since = since
    this.deadline = deadline
    this.holder = holder
  }
}

/** @internal */
export class Waiters<A> {
  head: Waiter<A> | undefined
  tail: Waiter<A> | undefined
  size = 0

  push(since: number, deadline: number, holder: unknown): Waiter<A> {
    const waiter = new Waiter<A>(since, deadline, holder)
    waiter.previous = this.tail
    if (this.tail === undefined) {
      this.head = waiter
    } else {
      this.tail.next = waiter
    }
    this.tail = waiter
    this.size++
    return waiter
  }

  /** The caller sees to it that the waiter is in the queue: its status is `Waiting`. */
  remove(waiter: Waiter<A>): void {
    if (waiter.previous === undefined) {
      this.head = waiter.next
    } else {
      waiter.previous.next = waiter.next
    }
    if (waiter.next === undefined) {
      this.tail = waiter.previous
    } else {
      waiter.next.previous = waiter.previous
    }
    waiter.previous = undefined
    waiter.next = undefined
    this.size--
  }
}
