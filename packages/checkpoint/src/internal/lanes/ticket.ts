/**
 * What the lanes' state is made of: an operation that waits (a ticket), the line of one thread, and what has been sent
 * (a flush). Times are in milliseconds.
 *
 * @internal
 */

/**
 * What a caller hands over.
 *
 * A class, as is all that waits: of object literals that are often alive when garbage is collected V8 takes it that they live
 * long. It makes the next ones where garbage is hardly ever looked for, and these hold on to all that they refer to.
 *
 * @internal
 */
export class Operation<A> {
  readonly item: A
  /** Operations of one thread keep their order. */
  readonly thread: string
  readonly bytes: number
  /** May be done again when it is unknown whether it was done. */
  readonly repeatable: boolean
  /** Runs alone for its thread: after all that came before it, before all that comes after. */
  readonly barrier: boolean

  constructor(item: A, thread: string, bytes: number, repeatable: boolean, barrier: boolean) {
    this.item = item
    this.thread = thread
    this.bytes = bytes
    this.repeatable = repeatable
    this.barrier = barrier
  }
}

/** @internal */
export const Queued = 0
/** @internal */
export const InFlight = 1
/** @internal */
export const Settled = 2

/** How an operation ended. @internal */
export type Outcome =
  | { readonly _tag: "Done"; readonly batch: number }
  | { readonly _tag: "Failed"; readonly failure: unknown }
  /** Its deadline passed while it waited; `failure` is why it had to wait again, if it was tried before. */
  | { readonly _tag: "Expired"; readonly waited: number; readonly failure: unknown }
  | { readonly _tag: "Closed" }

/** An operation that waits or is in flight. @internal */
export class Ticket<A> extends Operation<A> {
  readonly line: Line<A>
  /** The place in the line of all threads. It is kept when the operation has to wait again. */
  readonly number: number
  readonly since: number
  /** No longer waits in the queue from here on; what is in flight is waited for. */
  readonly deadline: number
  status: typeof Queued | typeof InFlight | typeof Settled = Queued
  /** The caller has gone. */
  abandoned = false
  /** Goes on its own: something was wrong with the batch that it was in. */
  alone = false
  /** How often the connection was lost under it, and how often another transaction was in its way. */
  losses = 0
  conflicts = 0
  /** Of the last try. */
  failure: unknown = undefined
  outcome: Outcome | undefined = undefined
  /** Wakes the caller; set by the interpreter. */
  resume: (() => void) | undefined = undefined
  previous: Ticket<A> | undefined = undefined
  next: Ticket<A> | undefined = undefined

  constructor(operation: Operation<A>, line: Line<A>, number: number, since: number, deadline: number) {
    super(operation.item, operation.thread, operation.bytes, operation.repeatable, operation.barrier)
    this.line = line
    this.number = number
    this.since = since
    this.deadline = deadline
  }
}

/** A batch that has been sent, or is about to be. @internal */
export interface Flush<A> {
  readonly tickets: Array<Ticket<A>>
}

/**
 * The queue of one thread: doubly linked, so that a caller who goes leaves without a search. It is in the heap of those
 * that are ready (`at ≥ 0`) exactly if it has tickets and nothing of it is in flight.
 *
 * @internal
 */
export class Line<A> {
  readonly thread: string
  head: Ticket<A> | undefined
  tail: Ticket<A> | undefined
  size = 0
  /** Part of it is in flight. */
  busy = false
  /** The place in the heap, or -1. */
  at = -1

  constructor(thread: string) {
    this.thread = thread
  }

  append(ticket: Ticket<A>): void {
    ticket.previous = this.tail
    if (this.tail === undefined) this.head = ticket
    else this.tail.next = ticket
    this.tail = ticket
    this.size++
  }

  prepend(ticket: Ticket<A>): void {
    ticket.next = this.head
    if (this.head === undefined) this.tail = ticket
    else this.head.previous = ticket
    this.head = ticket
    this.size++
  }

  remove(ticket: Ticket<A>): void {
    if (ticket.previous === undefined) this.head = ticket.next
    else ticket.previous.next = ticket.next
    if (ticket.next === undefined) this.tail = ticket.previous
    else ticket.next.previous = ticket.previous
    ticket.previous = undefined
    ticket.next = undefined
    this.size--
  }
}
