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
import * as Random from "./random.ts"
import { Server } from "./server.ts"

export class Broken extends Error {}

export const law = (holds: boolean, story: string): void => {
  if (!holds) throw new Broken(story)
}

type Content = Batch.Item | { readonly _tag: "Sweep"; readonly mark: number }

export interface Item {
  readonly content: Content
  /** The server refuses whatever it is part of. */
  readonly bad: boolean
}

interface Caller {
  readonly ticket: Ticket.Ticket<Item>
  readonly order: number
  place: "queued" | "in flight" | "over"
  gone: boolean
  answered: Ticket.Outcome | undefined
  /** Another one of its flush was refused. */
  suspect: boolean
  applied: boolean
  conflicts: number
  losses: number
}

/** Operations and how often each is drawn. */
const weights = {
  put: 22,
  writes: 12,
  barrier: 3,
  dispatch: 25,
  /** The server does what it is asked, or refuses it if something in it is bad. */
  answer: 30,
  saturated: 2,
  conflict: 1.5,
  /** The connection is lost before or after the server was done. */
  lostBefore: 1.5,
  lostAfter: 1.5,
  fatal: 0.3,
  interrupt: 5,
  /** Time passes, and the timer fires if something is due. */
  pass: 20,
  passUnnoticed: 3,
  close: 0.05
}
export type Kind_ = keyof typeof weights
export interface Operation {
  readonly kind: Kind_
  readonly n: number
}

const kinds = Object.keys(weights) as Array<Kind_>
const sum = kinds.reduce((sum, kind) => sum + weights[kind], 0)

export const draw = (random: Random.Random): Operation => {
  let left = random.next() * sum
  const kind =
    kinds.find((kind) => {
      left -= weights[kind]
      return left < 0
    }) ?? "pass"
  return { kind, n: random.between(0, 1_000_000) }
}

/** Lanes small enough for every limit to be met often. */
export const config = (random: Random.Random): Config => ({
  maxInFlight: random.between(1, 3),
  maxBatch: random.pick([1, 2, 4, 16]),
  maxBatchBytes: random.pick([25, 60, 100_000]),
  maxQueued: random.pick([3, 12, 1_000]),
  maxQueuedBytes: random.pick([20, 300, 100_000]),
  maxConflicts: random.pick([1, 3]),
  retryBase: random.pick([5, 50]),
  retryCap: 200,
  random: random.next
})

export class World {
  readonly config: Config
  readonly state: State<Item>
  readonly server = new Server()
  /** The same, done one operation at a time in the order in which the server did them. */
  readonly oneByOne = new Server()
  now = 0
  readonly callers = new Map<Ticket.Ticket<Item>, Caller>()
  /** Those of them who are queued or in flight. */
  private readonly live = new Set<Caller>()
  readonly flights: Array<Ticket.Flush<Item>> = []
  readonly met = new Set<string>()
  readonly log: Array<string> = []
  private readonly patience: number
  private readonly trouble: boolean
  private submitted = 0
  /** Failures in a row that were no operation's own. */
  private failures = 0
  private dispatched = false
  private ticked = false
  private closedAt = Number.POSITIVE_INFINITY

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
    for (const caller of this.live) if (caller.place === "over") this.live.delete(caller)
    this.check()
    return true
  }

  private perform({ kind, n }: Operation): boolean {
    const random = Random.fromSeed(n)
    switch (kind) {
      case "put":
      case "writes":
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
        const waiting = [...this.live].filter((caller) => !caller.gone)
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

  private submit(kind: "put" | "writes" | "barrier", random: Random.Random): boolean {
    const thread = random.pick(["a", "a", "b", "c", "d"])
    const bytes = kind === "barrier" ? 0 : random.between(1, 30)
    const item = { content: content(kind, thread, this.submitted, random), bad: random.next() < 0.04 }
    const { queued, queuedBytes } = this.books()
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
    const caller: Caller = {
      ticket,
      order: this.submitted++,
      place: "queued",
      gone: false,
      answered: undefined,
      suspect: false,
      applied: false,
      conflicts: 0,
      losses: 0
    }
    this.callers.set(ticket, caller)
    this.live.add(caller)
    return true
  }

  private dispatch(): boolean {
    const ready = () =>
      this.lines()
        .filter((line) => line.flying === 0 && line.queued.length > 0)
        .sort((a, b) => a.queued[0]!.order - b.queued[0]!.order)
    const before = this.flights.length
    const flushes = this.state.dispatch(this.now)
    if (this.failures > 0) law(flushes.length === 0 || before + flushes.length === 1, "more than one probe")
    for (const flush of flushes) {
      const callers = flush.tickets.map((ticket) => this.callers.get(ticket)!)
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
      this.flights.push(flush)
    }
    this.dispatched = true
    return true
  }

  private land(n: number, f: (flush: Ticket.Flush<Item>) => void): boolean {
    const [flush] = this.flights.splice(n % (this.flights.length || 1), 1)
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
    for (const ticket of flush.tickets) this.callers.get(ticket)!.place = "over"
    this.failures = 0
    this.state.succeeded(flush)
    law(this.state.pausedUntil <= this.now, "things are well again, and the pause goes on")
  }

  private apply(flush: Ticket.Flush<Item>): void {
    for (const ticket of flush.tickets) {
      const caller = this.callers.get(ticket)!
      for (const other of this.live) {
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
      const caller = this.callers.get(ticket)!
      if (kind === "conflict") caller.conflicts++
      if (kind === "lost") caller.losses++
      if (((kind === "refused" || kind === "conflict") && others) || caller.losses > 1) caller.suspect = true
      caller.place = "queued"
    }
    this.state.failed(flush, kind, kind, this.now)
    for (const ticket of flush.tickets) {
      const caller = this.callers.get(ticket)!
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
      const caller = this.callers.get(ticket)!
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

  private check(): void {
    const { state } = this
    const books = this.books()
    law(state.queued === books.queued, `queued is ${state.queued}, the books say ${books.queued}`)
    law(state.queuedBytes === books.queuedBytes, `bytes are ${state.queuedBytes}, the books say ${books.queuedBytes}`)
    law(state.inFlight.size === this.flights.length, "flights and books differ")
    law(this.flights.length <= this.config.maxInFlight, `${this.flights.length} in flight`)
    const lines = this.lines()
    law(state.lines.size === lines.length, `${state.lines.size} lines, the books say ${lines.length}`)
    let ready = 0
    for (const line of lines) {
      law(line.flying <= 1, `${line.flying} flushes of one thread`)
      if (line.flying === 0) ready += line.queued.length
      const known = state.lines.get(line.thread)!
      let ticket = known.head
      for (const caller of line.queued) {
        law(ticket === caller.ticket, "a line out of order")
        ticket = ticket?.next
      }
      law(ticket === undefined && known.size === line.queued.length, "more in line than wait")
    }
    law(state.queuedReady === ready, `${state.queuedReady} ready, the books say ${ready}`)
    if (this.dispatched) {
      const lanes = this.failures > 0 ? 1 : this.config.maxInFlight
      const idle = this.flights.length < lanes && this.now >= state.pausedUntil
      law(!idle || ready === 0, "a lane is free, and somebody waits who could go")
      if (state.queued > 0 && this.now < state.pausedUntil) {
        law(state.wakeAt <= state.pausedUntil, "nobody will wake after the pause")
      }
    }
    for (const { place, ticket } of this.live) {
      if (place !== "queued") continue
      law(state.wakeAt <= ticket.deadline || ticket.deadline <= this.now, "nobody will wake at a deadline")
      if (this.ticked) law(ticket.deadline > this.now, "overdue after the timer has fired")
    }
    const empty = books.queued === 0 && this.flights.length === 0
    if (this.closedAt < Number.POSITIVE_INFINITY) {
      law((state.phase === "closed") === empty, "closed too soon or too late")
    }
  }

  /** Everything is answered sooner or later, and what is stored is what was acknowledged. */
  finish(): void {
    for (let rounds = 0; this.books().queued > 0 || this.flights.length > 0; rounds++) {
      law(rounds < 10_000, "it never ends")
      if (this.step({ kind: "dispatch", n: 0 }) && this.flights.length > 0) {
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
    for (const { answered, applied, gone, ticket } of this.callers.values()) {
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

  private books() {
    let queued = 0
    let queuedBytes = 0
    for (const { place, ticket } of this.live) {
      if (place !== "queued") continue
      queued++
      queuedBytes += ticket.bytes
    }
    return { queued, queuedBytes }
  }

  /** The threads that have something queued or in flight. */
  private lines() {
    const lines = new Map<string, { readonly thread: string; readonly queued: Array<Caller>; flying: number }>()
    for (const caller of this.live) {
      if (caller.place === "over") continue
      const { thread } = caller.ticket
      const line = lines.get(thread) ?? { thread, queued: [], flying: 0 }
      lines.set(thread, line)
      if (caller.place === "queued") line.queued.push(caller)
    }
    for (const { tickets } of this.flights) {
      for (const thread of new Set(tickets.map(({ thread }) => thread))) lines.get(thread)!.flying++
    }
    return [...lines.values()]
  }
}

const content = (kind: "put" | "writes" | "barrier", threadId: string, n: number, random: Random.Random): Content => {
  const key = { threadId, namespace: random.pick(["", "", "x"]), checkpointId: random.pick(["1", "2", "3"]) }
  if (kind === "barrier") return { _tag: "Sweep", mark: n }
  if (kind === "writes") {
    const indices = [-3, -1, 0, 1, 2].filter(() => random.next() < 0.5)
    const taskId = random.pick(["t", "u"])
    const rows = indices.map((idx) => ({ taskId, taskPath: `p${n}`, idx, channel: "c", type: "json", blob: bytes(n) }))
    return { _tag: "Writes", rows: { key, rows } }
  }
  const channels = ["a", "b", "\uFFFD", "\u{1F388}"].filter(() => random.next() < 0.5)
  const blobs = channels.map((channel) => ({ channel, version: random.pick(["1", "2"]), type: "json", blob: bytes(n) }))
  return {
    _tag: "Put",
    rows: { checkpoint: { ...key, parentId: `p${n}`, checkpoint: `c${n}`, metadata: `m${n}` }, blobs }
  }
}

const bytes = (n: number): Uint8Array => Buffer.from(String(n))

/** As Postgres wants it of one statement, and as keeps statements from deadlocks. */
const sortedAndUnique = (batch: Batch.Batch): Batch.Batch => {
  const ascending = (keys: ReadonlyArray<string>) => {
    const inOrder = keys.map((key) => Buffer.from(key))
    for (let i = 1; i < inOrder.length; i++) {
      law(Buffer.compare(inOrder[i - 1]!, inOrder[i]!) < 0, "a statement's rows out of order, or a key twice")
    }
  }
  ascending(batch.checkpoints.map((_) => [_.threadId, _.namespace, _.checkpointId].join("\0")))
  ascending(batch.blobs.map(({ place, row }) => [place.threadId, place.namespace, row.channel, row.version].join("\0")))
  const tasks = batch.writes.map(({ key, row }) => [key.threadId, key.namespace, key.checkpointId, row.taskId, row.idx])
  law(new Set(tasks.map((key) => key.join("\0"))).size === tasks.length, "a write twice in a statement")
  return batch
}
