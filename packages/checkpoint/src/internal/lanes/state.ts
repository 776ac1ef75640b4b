/**
 * The lanes as plain synchronous state: every decision, no effect.
 *
 * Each method is one transition at time `now` (ms, monotonic). Who has been answered is appended to `settled` for the
 * interpreter; `dispatch` gives the flushes to be sent. Nothing here calls back, so a transition can't be re-entered, and
 * a model can drive it step by step.
 *
 * ```text
 *            submit                dispatch               succeeded, failed
 *   caller ─────────► line of its ─────────► in flight ─────────► settled
 *                     thread   ▲                 │
 *        cancel, deadline │    └─────────────────┘ the pool is saturated, the connection was lost,
 *                         ▼                        or another one of the batch was refused
 *                      settled
 * ```
 *
 * Invariants, after each transition:
 * - a ticket is queued in the line of its thread, or in exactly one flush, or settled
 * - at most one flush has tickets of a thread; a barrier and a ticket that goes alone have a flush for themselves
 * - the tickets of a line are in order of their numbers, and all numbers in flight are smaller than those in line
 * - `ready` holds exactly the lines that have tickets and nothing in flight
 *
 * After `dispatch` nothing can go: no lane is free, or no line is ready, or a pause holds all back. The interpreter calls
 * it some time after each other transition.
 *
 * @internal
 */
import { Ready } from "./ready.ts"
import * as Ticket from "./ticket.ts"

/** @internal */
export interface Config {
  /** Flushes in flight. */
  readonly maxInFlight: number
  /** Operations of one flush, and their bytes. An operation of more bytes goes alone. */
  readonly maxBatch: number
  readonly maxBatchBytes: number
  /** Operations that wait, and their bytes. A single one may have more bytes. */
  readonly maxQueued: number
  readonly maxQueuedBytes: number
  /** How often an operation is tried at most that the server refuses for the sake of another transaction. */
  readonly maxConflicts: number
  /** The pause after the nth failure in a row is random between half and the whole of `base × 2^(n − 1)`, at most `cap`. */
  readonly retryBase: number
  readonly retryCap: number
  /** Uniform in [0, 1). */
  readonly random: () => number
}

/**
 * What a failure of a flush means for the operations in it.
 *
 * - `refused`: nothing of it was done, because of what is in it
 * - `conflict`: nothing of it was done, because of another transaction
 * - `saturated`: nothing of it was done, because there was no connection to be had
 * - `lost`: nobody knows whether it was done
 * - `fatal`: nothing of it was done, and nothing else will be
 *
 * @internal
 */
export type Kind = "refused" | "conflict" | "saturated" | "lost" | "fatal"

/** Why an operation is not even queued. @internal */
export type Refusal = { readonly _tag: "Full"; readonly by: "count" | "bytes" } | { readonly _tag: "Closed" }

/** @internal */
export class State<A> {
  readonly config: Config
  readonly lines = new Map<string, Ticket.Line<A>>()
  readonly ready = new Ready<A>()
  /** Tickets in lines, in those lines that are ready, and the bytes of all. */
  queued = 0
  queuedReady = 0
  queuedBytes = 0
  readonly inFlight = new Set<Ticket.Flush<A>>()
  readonly settled: Array<Ticket.Ticket<A>> = []
  /** No deadline lies before this; `tick` makes it exact. */
  wakeAt = Number.POSITIVE_INFINITY
  /** Failures in a row that were not the operations' own: then nothing goes before `pausedUntil`, and one flush at a time. */
  failures = 0
  pausedUntil = Number.NEGATIVE_INFINITY
  phase: "open" | "draining" | "closed" = "open"
  graceEnds = Number.POSITIVE_INFINITY
  readonly totals = { flushes: 0, flushed: 0, bytes: 0, largest: 0, split: 0, retried: 0, full: 0, expired: 0 }
  private numbers = 0

  constructor(config: Config) {
    this.config = config
  }

  /** A place in the line, or the reason why there is none. */
  submit(operation: Ticket.Operation<A>, deadline: number, now: number): Ticket.Ticket<A> | Refusal {
    if (this.phase !== "open") return { _tag: "Closed" }
    const by =
      this.queued >= this.config.maxQueued
        ? "count"
        : this.queued > 0 && this.queuedBytes + operation.bytes > this.config.maxQueuedBytes
          ? "bytes"
          : undefined
    if (by !== undefined) {
      this.totals.full++
      return { _tag: "Full", by }
    }
    let line = this.lines.get(operation.thread)
    if (line === undefined) {
      line = new Ticket.Line(operation.thread)
      this.lines.set(operation.thread, line)
    }
    const ticket = new Ticket.Ticket(operation, line, this.numbers++, now, deadline)
    line.append(ticket)
    this.count(ticket, 1)
    if (!line.busy && line.at < 0) this.ready.add(line)
    this.remind(deadline)
    return ticket
  }

  /**
   * The caller goes away. What waits is taken out; what is in flight goes on, for the sake of the others in its flush,
   * and of nobody else: it won't be tried again.
   */
  cancel(ticket: Ticket.Ticket<A>): void {
    ticket.abandoned = true
    if (ticket.status !== Ticket.Queued) return
    this.leave(ticket)
    ticket.status = Ticket.Settled
    this.finish()
  }

  /** The flushes that can go now, the oldest tickets first. */
  dispatch(now: number): ReadonlyArray<Ticket.Flush<A>> {
    const flushes: Array<Ticket.Flush<A>> = []
    if (now < this.pausedUntil) {
      if (this.queued > 0) this.remind(this.pausedUntil)
      return flushes
    }
    // After a failure one flush finds out whether things are well again.
    const lanes = this.failures > 0 ? 1 : this.config.maxInFlight
    while (this.inFlight.size < lanes && this.ready.size > 0) {
      // A line can't be split, so it is no use to leave lanes for more than there are; and to split a few takes longer than to
      // send them together.
      const worthwhile = Math.max(1, Math.floor(this.queuedReady / minShare))
      const free = Math.min(lanes - this.inFlight.size, this.ready.size, worthwhile)
      flushes.push(this.take(Math.min(this.config.maxBatch, Math.ceil(this.queuedReady / free))))
    }
    return flushes
  }

  /** Committed. */
  succeeded(flush: Ticket.Flush<A>): void {
    if (!this.inFlight.delete(flush)) return
    this.failures = 0
    this.pausedUntil = Number.NEGATIVE_INFINITY
    const done = { _tag: "Done", batch: flush.tickets.length } as const
    for (const ticket of flush.tickets) this.settle(ticket, done)
    this.land(flush)
  }

  failed(flush: Ticket.Flush<A>, kind: Kind, failure: unknown, now: number): void {
    if (!this.inFlight.delete(flush)) return
    if (kind === "saturated" || kind === "lost") this.pause(now)
    if (kind === "refused" && flush.tickets.length > 1) this.totals.split++
    // From the back, so that each one comes to stand before those that it came before.
    for (let i = flush.tickets.length - 1; i >= 0; i--) {
      const ticket = flush.tickets[i]!
      if (kind === "lost") ticket.losses++
      if (kind === "conflict") ticket.conflicts++
      ticket.failure = failure
      if (!this.goesAgain(ticket, kind, flush.tickets.length)) this.settle(ticket, { _tag: "Failed", failure })
      else if (ticket.abandoned || this.graceEnds <= now) this.settle(ticket, { _tag: "Closed" })
      else if (ticket.deadline <= now) this.expire(ticket, now)
      else this.putBack(ticket, kind)
    }
    this.land(flush)
  }

  /** Admits nobody any more; what waits may go until `now + grace`. */
  close(now: number, grace: number): void {
    if (this.phase !== "open") return
    this.phase = "draining"
    this.graceEnds = now + grace
    this.remind(this.graceEnds)
    this.finish()
  }

  /** Does all that is due, and sets `wakeAt` to when the next thing is. */
  tick(now: number): void {
    this.wakeAt = Number.POSITIVE_INFINITY
    const graceIsOver = this.graceEnds <= now
    for (const line of [...this.lines.values()]) {
      for (let ticket = line.head; ticket !== undefined; ) {
        const { next } = ticket
        if (graceIsOver || ticket.deadline <= now) {
          this.leave(ticket)
          if (graceIsOver) this.settle(ticket, { _tag: "Closed" })
          else this.expire(ticket, now)
        } else {
          this.remind(ticket.deadline)
        }
        ticket = next
      }
    }
    if (this.phase === "draining" && !graceIsOver) this.remind(this.graceEnds)
    this.finish()
  }

  /** Takes the oldest line, and then others while there are fewer than `share`; of each line as much as can go together. */
  private take(share: number): Ticket.Flush<A> {
    const { maxBatch, maxBatchBytes } = this.config
    const tickets: Array<Ticket.Ticket<A>> = []
    let bytes = 0
    const fits = (ticket: Ticket.Ticket<A> | undefined): ticket is Ticket.Ticket<A> =>
      ticket !== undefined &&
      (tickets.length === 0 ||
        (tickets.length < maxBatch &&
          bytes + ticket.bytes <= maxBatchBytes &&
          !isSingle(ticket) &&
          !isSingle(tickets[0]!)))
    for (let line = this.ready.top; tickets.length < share && fits(line?.head); line = this.ready.top) {
      this.ready.remove(line!)
      this.queuedReady -= line!.size
      line!.busy = true
      for (let ticket = line!.head; fits(ticket); ticket = line!.head) {
        this.leave(ticket)
        ticket.status = Ticket.InFlight
        tickets.push(ticket)
        bytes += ticket.bytes
      }
    }
    const flush = { tickets }
    this.inFlight.add(flush)
    this.totals.flushes++
    this.totals.flushed += tickets.length
    this.totals.bytes += bytes
    this.totals.largest = Math.max(this.totals.largest, tickets.length)
    return flush
  }

  private goesAgain(ticket: Ticket.Ticket<A>, kind: Kind, batch: number): boolean {
    switch (kind) {
      case "refused":
        return batch > 1
      case "conflict":
        return batch > 1 || ticket.conflicts < this.config.maxConflicts
      case "saturated":
        return true
      case "lost":
        return ticket.repeatable
      case "fatal":
        return false
    }
  }

  private putBack(ticket: Ticket.Ticket<A>, kind: Kind): void {
    // One that breaks connections must not drag others along for ever.
    if (kind === "refused" || kind === "conflict" || ticket.losses > 1) ticket.alone = true
    this.totals.retried++
    ticket.status = Ticket.Queued
    ticket.line.prepend(ticket)
    this.count(ticket, 1)
    this.remind(ticket.deadline)
  }

  /** Its lines are free for the next flush. */
  private land(flush: Ticket.Flush<A>): void {
    for (const { line } of flush.tickets) {
      if (!line.busy) continue
      line.busy = false
      if (line.size === 0) {
        this.lines.delete(line.thread)
      } else {
        this.queuedReady += line.size
        this.ready.add(line)
      }
    }
    this.finish()
  }

  private leave(ticket: Ticket.Ticket<A>): void {
    const { line } = ticket
    const wasHead = line.head === ticket
    line.remove(ticket)
    this.count(ticket, -1)
    if (line.at < 0) {
      return
    } else if (line.size === 0) {
      this.ready.remove(line)
      this.lines.delete(line.thread)
    } else if (wasHead) {
      this.ready.moved(line)
    }
  }

  private count(ticket: Ticket.Ticket<A>, by: 1 | -1): void {
    this.queued += by
    this.queuedBytes += by * ticket.bytes
    if (!ticket.line.busy) this.queuedReady += by
  }

  private pause(now: number): void {
    this.failures++
    const { random, retryBase, retryCap } = this.config
    const delay = Math.min(retryCap, retryBase * 2 ** Math.min(this.failures - 1, 30))
    this.pausedUntil = now + delay * (0.5 + 0.5 * random())
  }

  private expire(ticket: Ticket.Ticket<A>, now: number): void {
    this.totals.expired++
    this.settle(ticket, { _tag: "Expired", waited: now - ticket.since, failure: ticket.failure })
  }

  private settle(ticket: Ticket.Ticket<A>, outcome: Ticket.Outcome): void {
    ticket.status = Ticket.Settled
    ticket.outcome = outcome
    if (!ticket.abandoned) this.settled.push(ticket)
  }

  private remind(at: number): void {
    if (at < this.wakeAt) this.wakeAt = at
  }

  private finish(): void {
    if (this.phase === "draining" && this.queued === 0 && this.inFlight.size === 0) this.phase = "closed"
  }
}

/** Operations. What a statement costs besides its rows is about what eight of them cost. */
const minShare = 8

const isSingle = (ticket: Ticket.Ticket<unknown>): boolean => ticket.barrier || ticket.alone
