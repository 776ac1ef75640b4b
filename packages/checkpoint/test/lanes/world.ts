/**
 * The world around the lanes' state: callers that submit, leave and run out of time, a server that commits, refuses,
 * is busy or goes away in the middle.
 *
 * It plays the interpreter's part and keeps its own books of who waits and what the server did, so that the state's word
 * can be held against them. What contradicts a law is thrown as `Broken`.
 */
import * as Batch from "../../src/internal/lanes/batch.ts"
import type { Config, Kind } from "../../src/internal/lanes/state.ts"
import { State } from "../../src/internal/lanes/state.ts"
import * as Ticket from "../../src/internal/lanes/ticket.ts"
import { Books, type Caller } from "./books.ts"
import { content, type Item, sortedAndUnique } from "./content.ts"
import { check } from "./invariants.ts"
import { law } from "./law.ts"
import { config, type Operation } from "./operations.ts"
import * as Random from "./random.ts"
import { Server } from "./server.ts"

export class World {
  readonly config: Config
  readonly state: State<Item>
  readonly server = new Server()
  /** The same, done one operation at a time in the order in which the server did them. */
  readonly oneByOne = new Server()
  now = 0
  private readonly books = new Books()
  readonly met = new Set<string>()
  readonly log: Array<string> = []
  private readonly patience: number
  private readonly trouble: boolean
  /** Failures in a row that were no operation's own. */
  failures = 0
  dispatched = false
  ticked = false
  closedAt = Number.POSITIVE_INFINITY

  constructor(seed: number) {
    const random = Random.fromSeed(seed)
    this.config = config(random)
    this.state = new State(this.config)
    this.patience = random.pick([40, 400, 100_000])
    // Without any, what is acknowledged is all that is stored.
    this.trouble = random.next() < 0.8
  }

  /** False if it means nothing at present. */
  step(operation: Operation): boolean {
    this.dispatched = false
    this.ticked = false
    if (!this.perform(operation)) return false
    this.met.add(operation.kind)
    this.answers()
    this.books.close()
    check(this.state, this.books, this)
    return true
  }

  private perform({ kind, n }: Operation): boolean {
    const random = Random.fromSeed(n)
    switch (kind) {
      case "put":
      case "writes":
      case "commit":
      case "barrier":
        return this.submit(kind, random)
      case "dispatch":
        return this.dispatch()
      case "answer":
        return this.land(n, (flush) => this.answer(flush))
      case "saturated":
      case "conflict":
      case "fatal":
        return this.trouble && this.land(n, (flush) => this.fail(flush, kind))
      case "lostBefore":
        return this.trouble && this.land(n, (flush) => this.fail(flush, "lost"))
      case "lostAfter":
        return (
          this.trouble &&
          this.land(n, (flush) => {
            if (!flush.tickets.some(({ item }) => item.bad)) this.apply(flush)
            this.fail(flush, "lost")
          })
        )
      case "interrupt": {
        const waiting = [...this.books.live].filter((caller) => !caller.gone)
        const caller = waiting[n % waiting.length]
        if (!this.trouble || caller === undefined) return false
        this.met.add(`interrupt: ${caller.place}`)
        caller.gone = true
        if (caller.place === "queued") caller.place = "over"
        this.state.cancel(caller.ticket)
        return true
      }
      case "pass":
      case "passUnnoticed":
        this.now += n % random.pick([5, 50, 200])
        if (kind === "pass" && this.state.wakeAt <= this.now) this.tick()
        return true
      case "close":
        if (this.state.phase !== "open") return false
        this.closedAt = this.now + (n % 100)
        this.state.close(this.now, n % 100)
        return true
    }
  }

  private submit(kind: "put" | "writes" | "commit" | "barrier", random: Random.Random): boolean {
    const thread = random.pick(["a", "a", "b", "c", "d"])
    const bytes = kind === "barrier" ? 0 : random.between(1, 30)
    const item = { content: content(kind, thread, this.books.callers.size, random), bad: random.next() < 0.04 }
    const { queued, queuedBytes } = this.books.queue()
    const ticket = this.state.submit(
      { item, thread, bytes, repeatable: kind !== "barrier" || random.next() < 0.5, barrier: kind === "barrier" },
      this.now + random.between(0, this.patience),
      this.now
    )
    const full =
      queued >= this.config.maxQueued
        ? "count"
        : queued > 0 && queuedBytes + bytes > this.config.maxQueuedBytes
          ? "bytes"
          : undefined
    if ("_tag" in ticket) {
      this.met.add(`refused: ${ticket._tag} ${ticket._tag === "Full" ? ticket.by : ""}`)
      if (ticket._tag === "Full") law(ticket.by === full, `refused by ${ticket.by}, but the books say ${full}`)
      else law(this.closedAt < Number.POSITIVE_INFINITY, "refused as closed, but nobody closed")
      return true
    }
    law(full === undefined, `admitted over the bound of ${full}`)
    law(this.closedAt === Number.POSITIVE_INFINITY, "admitted after the end")
    this.books.add(ticket)
    return true
  }

  private dispatch(): boolean {
    const ready = () =>
      this.books
        .lines()
        .filter((line) => line.flying === 0 && line.queued.length > 0)
        .sort((a, b) => a.queued[0]!.order - b.queued[0]!.order)
    const before = this.books.flights.length
    const flushes = this.state.dispatch(this.now)
    if (this.failures > 0) law(flushes.length === 0 || before + flushes.length === 1, "more than one probe")
    for (const flush of flushes) {
      const callers = flush.tickets.map((ticket) => this.books.of(ticket))
      const threads = new Set(callers.map(({ ticket }) => ticket.thread))
      this.log.push(`${this.now}: flush of ${callers.map(({ order, ticket }) => `${ticket.thread}${order}`).join(" ")}`)
      law(callers.length > 0, "an empty flush")
      // Fairness: those that have waited longest, each with the front of its own line.
      const due = ready()
        .slice(0, threads.size)
        .map(({ thread }) => thread)
      law([...threads].join() === due.join(), `flushed the threads ${[...threads]}, the oldest are ${due}`)
      for (const line of ready()) {
        const mine = callers.filter(({ ticket }) => ticket.thread === line.thread)
        law(
          mine.every((caller, i) => caller === line.queued[i]),
          "not the front of its line"
        )
      }
      if (callers.length > 1) {
        law(!callers.some(({ ticket }) => ticket.barrier), "a barrier with others")
        law(!callers.some(({ suspect }) => suspect), "one that may be bad with others")
        const bytes = callers.reduce((bytes, { ticket }) => bytes + ticket.bytes, 0)
        law(bytes <= this.config.maxBatchBytes, `${bytes} bytes in a flush`)
        this.met.add("batch")
      }
      law(callers.length <= this.config.maxBatch, `${callers.length} in a flush`)
      for (const caller of callers) {
        law(caller.place === "queued", `flushed while ${caller.place}`)
        caller.place = "in flight"
      }
      this.books.flights.push(flush)
    }
    this.dispatched = true
    return true
  }

  private land(n: number, f: (flush: Ticket.Flush<Item>) => void): boolean {
    const [flush] = this.books.flights.splice(n % (this.books.flights.length || 1), 1)
    if (flush === undefined) return false
    f(flush)
    return true
  }

  private answer(flush: Ticket.Flush<Item>): void {
    if (flush.tickets.some(({ item }) => item.bad)) {
      this.fail(flush, "refused")
      return
    }
    this.apply(flush)
    for (const ticket of flush.tickets) this.books.of(ticket).place = "over"
    this.failures = 0
    this.state.succeeded(flush)
    law(this.state.pausedUntil <= this.now, "things are well again, and the pause goes on")
  }

  private apply(flush: Ticket.Flush<Item>): void {
    for (const ticket of flush.tickets) {
      const caller = this.books.of(ticket)
      for (const other of this.books.live) {
        if (other.ticket.thread !== ticket.thread || other === caller) continue
        const precedes = flush.tickets.indexOf(other.ticket) >= 0
        law(
          other.order > caller.order || other.place === "over" || precedes,
          `${ticket.thread}${caller.order} was done before ${other.order}`
        )
      }
      caller.applied = true
      const { content } = ticket.item
      if (content._tag === "Sweep") this.oneByOne.sweep(ticket.thread, content.mark)
      else this.oneByOne.apply(Batch.merge([content]))
    }
    const items = flush.tickets.flatMap(({ item: { content } }) => (content._tag === "Sweep" ? [] : [content]))
    const [first] = flush.tickets
    if (first!.item.content._tag === "Sweep") this.server.sweep(first!.thread, first!.item.content.mark)
    else this.server.apply(sortedAndUnique(Batch.merge(items)))
    for (const thread of new Set(flush.tickets.map(({ thread }) => thread))) {
      law(this.server.picture(thread) === this.oneByOne.picture(thread), "merged, it is not what one by one would be")
    }
  }

  private fail(flush: Ticket.Flush<Item>, kind: Kind): void {
    this.log.push(`${this.now}: ${kind}`)
    this.met.add(`failed: ${kind}`)
    const others = flush.tickets.length > 1
    if (kind === "saturated" || kind === "lost") this.failures++
    for (const ticket of flush.tickets) {
      const caller = this.books.of(ticket)
      if (kind === "conflict") caller.conflicts++
      if (kind === "lost") caller.losses++
      if (((kind === "refused" || kind === "conflict") && others) || caller.losses > 1) caller.suspect = true
      caller.place = "queued"
    }
    this.state.failed(flush, kind, kind, this.now)
    for (const ticket of flush.tickets) {
      const caller = this.books.of(ticket)
      if (ticket.status === Ticket.Settled) {
        caller.place = "over"
        continue
      }
      law(kind !== "fatal" && (others || kind !== "refused"), `queued again after ${kind}`)
      law(kind !== "lost" || ticket.repeatable, "queued again, though it must not be done twice")
      law(kind !== "conflict" || others || caller.conflicts < this.config.maxConflicts, "never gives up")
      law(ticket.deadline > this.now, "queued again after its deadline")
      law(!caller.gone, "queued again for nobody")
    }
  }

  private tick(): void {
    this.state.tick(this.now)
    this.ticked = true
  }

  /** Each caller is answered once, with what happened to its own operation. */
  private answers(): void {
    for (const ticket of this.state.settled) {
      const caller = this.books.of(ticket)
      const outcome = ticket.outcome!
      this.log.push(`${this.now}: ${ticket.thread}${caller.order} ${outcome._tag}`)
      this.met.add(`answer: ${outcome._tag}`)
      law(caller.answered === undefined, "answered twice")
      law(!caller.gone, "answered though it had gone")
      caller.answered = outcome
      if (outcome._tag === "Expired" || outcome._tag === "Closed") caller.place = "over"
      law(caller.place === "over", `answered while ${caller.place}`)
      if (outcome._tag === "Done") law(caller.applied && !ticket.item.bad, "acknowledged before it was committed")
      if (outcome._tag === "Expired") law(ticket.deadline <= this.now, "expired before its deadline")
      if (outcome._tag === "Closed") law(this.closedAt <= this.now, "closed before the end of the grace")
      if (outcome._tag === "Failed") this.deserved(caller, outcome.failure)
    }
    this.state.settled.length = 0
  }

  private deserved({ conflicts, ticket }: Caller, failure: unknown): void {
    if (failure === "refused") law(ticket.item.bad, "failed for another one's sake")
    if (failure === "conflict") law(conflicts >= this.config.maxConflicts, "gave up too soon")
    if (failure === "lost") law(!ticket.repeatable, "may be done again, and wasn't")
    law(failure !== "saturated", "failed because the pool was saturated")
  }

  /** Everything is answered sooner or later, and what is stored is what was acknowledged. */
  finish(): void {
    for (let rounds = 0; this.books.queue().queued > 0 || this.books.flights.length > 0; rounds++) {
      law(rounds < 10_000, "it never ends")
      if (this.step({ kind: "dispatch", n: 0 }) && this.books.flights.length > 0) {
        while (this.step({ kind: "answer", n: rounds }));
      } else {
        law(Number.isFinite(this.state.wakeAt), "somebody waits, and no timer is set")
        this.now = Math.max(this.now, this.state.wakeAt)
        this.tick()
        this.answers()
      }
    }
    law(this.state.lines.size === 0 && this.state.queuedBytes === 0, "something is left")
    const acknowledged = new Server()
    const unsure = new Set<string>()
    for (const { answered, applied, gone, ticket } of this.books.callers.values()) {
      law(gone || answered !== undefined, "never answered")
      const done = answered?._tag === "Done"
      if (applied && !done) unsure.add(ticket.thread)
      if (!done) continue
      const { content } = ticket.item
      if (content._tag === "Sweep") acknowledged.sweep(ticket.thread, content.mark)
      else acknowledged.apply(Batch.merge([content]))
    }
    for (const thread of ["a", "b", "c", "d"]) {
      // Of a thread with an operation that was done and not acknowledged, only the laws above hold.
      if (unsure.has(thread)) continue
      this.met.add(this.trouble ? "compared" : "compared without trouble")
      law(this.server.picture(thread) === acknowledged.picture(thread), `${thread} holds not what was acknowledged`)
    }
  }
}
