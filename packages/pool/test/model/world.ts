/**
 * The world around the state: callers that arrive, leave and give back, resources that open, hang and break, a clock.
 *
 * It plays the interpreter's part (carries out commands, reports results) and keeps its own books of who waits, who
 * holds what and what became of each resource, so that the state's word can be held against them. What contradicts a
 * law is thrown as `Broken`.
 */
import type { Command, Config, ConnectFailure } from "../../src/internal/model.ts"
import type { Rejection } from "../../src/internal/rejection.ts"
import type { Slot } from "../../src/internal/slot.ts"
import { State } from "../../src/internal/state.ts"
import type { Waiter } from "../../src/internal/waiters.ts"
import * as Waiters from "../../src/internal/waiters.ts"
import type { CloseReason, PoolEvent } from "../../src/PoolEvent.ts"
import * as Recycler from "../../src/Recycler.ts"
import * as Laws from "./laws.ts"
import type { Operation } from "./operation.ts"

export class Broken extends Error {}

export const law = (holds: boolean, story: string): void => {
  if (!holds) throw new Broken(story)
}

/** A resource as the other side sees it. */
export interface Resource {
  readonly id: number
  readonly openedAt: number
  lent: number
  /** When it was last known to work: opened, in use, checked. */
  provenAt: number
  invalidated: boolean
  expired: boolean
}

export type Place = "connecting" | "idle" | "checking" | "leased" | "granted" | "resetting" | "closing" | "moving"

/** A line of the books: one slot. */
export interface Entry {
  readonly slot: Slot<Resource>
  place: Place
  since: number
  expired: boolean
  abandoned: boolean
  resource: Resource | undefined
  lease: number
  holder: number | undefined
  warned: boolean
}

export interface Caller {
  readonly holder: number
  readonly since: number
  readonly waiter: Waiter<Resource>
  answers: number
}

export interface Failing {
  readonly kind: ConnectFailure["kind"]
  readonly failures: number
  readonly since: number
  readonly last: number
  /** When the next attempt may be made. */
  readonly next: number
}

/** Something that the pool no longer waits for. */
interface Ghost {
  readonly slot: Slot<Resource>
  readonly was: "connecting" | "checking" | "resetting" | "closing"
}

export class World {
  readonly config: Config
  readonly state: State<Resource>
  now = 0
  readonly entries = new Map<Slot<Resource>, Entry>()
  readonly queue: Array<Caller> = []
  readonly granted: Array<Caller> = []
  readonly ghosts: Array<Ghost> = []
  /** Leases that have ended, to be ended again. */
  readonly over: Array<{ readonly slot: Slot<Resource>; readonly lease: number }> = []
  failing: Failing | undefined
  checksFail = false
  min: number
  max: number
  warm: boolean
  total = 0
  draining = false
  graceEnds = Number.POSITIVE_INFINITY
  drained = 0
  saturated = false
  unavailable = false
  ticked = false
  readonly totals: State<Resource>["totals"] = {
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
  readonly log: Array<string> = []
  /** What this run has met: operations, events, reasons, refusals. */
  readonly met = new Set<string>()
  private resources = 0
  private operation: Operation = { kind: "pass", n: 0 }
  /** What the operation at hand gave back, so that the pool may close it for the answer's sake. */
  private verdict: CloseReason | undefined
  private finishing: Slot<Resource> | undefined

  constructor(config: Config) {
    this.config = config
    this.state = new State(config)
    this.min = config.min
    this.max = config.max
    this.warm = config.warm
    if (this.warm) this.state.warmUp(1, this.now)
    this.settle()
    this.total = this.entries.size
  }

  /** Performs one operation and checks every law. False if it means nothing now. */
  step(operation: Operation): boolean {
    this.operation = operation
    this.verdict = undefined
    this.finishing = undefined
    this.ticked = false
    if (!this.perform(operation)) return false
    this.settle()
    this.pause()
    Laws.check(this)
    this.total = this.entries.size
    this.met.add(operation.kind)
    return true
  }

  places(place: Place): Array<Entry> {
    return [...this.entries.values()].filter((entry) => entry.place === place)
  }

  count(...places: ReadonlyArray<Place>): number {
    let n = 0
    for (const entry of this.entries.values()) if (places.includes(entry.place)) n++
    return n
  }

  get live(): number {
    return this.entries.size - this.count("closing")
  }

  get open(): number {
    return this.live - this.count("connecting")
  }

  isStale(entry: Entry): boolean {
    return this.now - entry.resource!.provenAt >= this.config.checkAfter
  }

  // ---------------------------------------------------------------------------------------------------------------
  // Operations
  // ---------------------------------------------------------------------------------------------------------------

  private perform({ kind, n }: Operation): boolean {
    switch (kind) {
      case "acquire":
        return this.acquire(n % 7)
      case "release":
        return this.release(n, Recycler.keep)
      case "releaseWithReset":
        return this.release(n, undefined)
      case "releaseClosing":
        return this.release(n, Recycler.close("worn"))
      case "releaseAgain": {
        const over = choose(this.over, n)
        if (over === undefined) return false
        this.unchanged(() => {
          law(!this.state.release(over.slot, over.lease, this.now, Recycler.keep), "released twice")
          this.state.discard(over.slot, over.lease, this.now, "hookFailed", "late")
        })
        return true
      }
      case "hookFails": {
        const entry = choose(this.places("leased"), n)
        if (entry === undefined) return false
        this.inHand(entry)
        this.verdict = "hookFailed"
        this.over.push({ slot: entry.slot, lease: entry.lease })
        this.state.discard(entry.slot, entry.lease, this.now, "hookFailed", "hook")
        return true
      }
      case "resume": {
        const caller = choose(this.granted, n)
        if (caller === undefined) return false
        this.granted.splice(this.granted.indexOf(caller), 1)
        const entry = this.entries.get(caller.waiter.slot!)
        if (entry?.place === "granted") entry.place = "leased"
        return true
      }
      case "cancelWaiting": {
        const caller = choose(this.queue, n)
        if (caller === undefined) return false
        this.queue.splice(this.queue.indexOf(caller), 1)
        this.state.cancel(caller.waiter, this.now)
        return true
      }
      case "cancelGranted":
        return this.cancelGranted(n)
      case "connectOk":
        return this.connected(choose(this.places("connecting"), n))
      case "connectFails":
        return this.connectFailed(choose(this.places("connecting"), n), "failed")
      case "connectFatal":
        return this.connectFailed(choose(this.places("connecting"), n), "fatal")
      case "connectAtCapacity":
        return this.connectFailed(choose(this.places("connecting"), n), "capacity")
      case "checkOk":
        return this.checked(choose(this.places("checking"), n), true)
      case "checkFails":
        return this.checked(choose(this.places("checking"), n), false)
      case "resetOk":
        return this.reset(choose(this.places("resetting"), n), Recycler.keep)
      case "resetCloses":
        return this.reset(choose(this.places("resetting"), n), Recycler.close("worn"))
      case "resetFails":
        return this.reset(choose(this.places("resetting"), n), { _tag: "Failed", error: "reset" })
      case "closeOk":
        return this.closed(choose(this.places("closing"), n), n % 2 === 0)
      case "lateSuccess":
        return this.late(n, true)
      case "lateFailure":
        return this.late(n, false)
      case "invalidate": {
        const entry = choose(
          [...this.entries.values()].filter((entry) => entry.resource !== undefined && entry.place !== "closing"),
          n
        )
        if (entry === undefined) return false
        entry.resource!.invalidated = true
        this.state.invalidate(entry.slot, this.now)
        return true
      }
      case "expire":
        for (const entry of this.entries.values()) entry.expired = true
        this.state.expire(this.now)
        return true
      case "resize":
        this.max = 1 + (n % 6)
        this.min = Math.floor(n / 6) % (this.max + 1)
        this.state.resize(this.min, this.max, this.now)
        return true
      case "pass":
        this.now += n
        for (let ticks = 0; this.state.wakeAt <= this.now; ticks++) {
          law(ticks < 3, "the timer fires again and again for nothing")
          this.state.tick(this.now)
          this.settle()
          this.ticked = true
        }
        return true
      case "passUnnoticed":
        this.now += n
        return true
      case "drain":
        this.drain(n)
        return true
    }
  }

  private acquire(holder: number): boolean {
    const holdsAll =
      this.entries.size >= this.max && [...this.entries.values()].every((entry) => entry.holder === holder)
    const slot = this.state.take(this.now, holder)
    if (slot !== undefined) {
      law(this.queue.length === 0, "a newcomer overtook a waiter")
      const entry = this.entries.get(slot)!
      law(entry.place === "idle", `a slot was lent that is ${entry.place}`)
      this.lend(entry, holder, "leased")
      return true
    }
    const full = this.count("leased", "granted") + this.queue.length >= this.max + this.config.maxWaiting
    const waiter = this.state.enqueue(this.now, holder)
    if ("_tag" in waiter) {
      this.totals.rejected++
      this.refused(waiter, full, holdsAll)
      return true
    }
    law(!this.draining, "a caller was admitted to a pool that closes")
    law(!full, "a caller was admitted beyond the bound")
    law(!holdsAll, "a fiber that holds all was left to wait for itself")
    this.totals.queued++
    this.warm = true
    this.queue.push({ holder, since: this.now, waiter, answers: 0 })
    return true
  }

  private refused(rejection: Rejection, full: boolean, holdsAll: boolean) {
    this.met.add(`refused: ${rejection._tag}`)
    switch (rejection._tag) {
      case "Closed":
        return law(this.draining, "PoolClosed from an open pool")
      case "Nested":
        return law(holdsAll, "NestedAcquire for a fiber that doesn't hold all")
      case "Saturated":
        return law(full, "PoolSaturated with room to wait")
      case "Unavailable":
        return law(this.unavailable && this.open === 0, "PoolUnavailable from a pool that has something open")
      case "Timeout":
        return law(false, "a timeout without a wait")
    }
  }

  private lend(entry: Entry, holder: number, place: "leased" | "granted"): void {
    const resource = entry.resource!
    law(!this.draining, "lent while the pool closes")
    law(!resource.invalidated, "lent although invalidated")
    law(!entry.expired, "lent although its generation has expired")
    law(resource.lent < this.config.maxUses, "lent more often than allowed")
    law(this.now < entry.slot.expiresAt, "lent past its lifetime")
    law(!this.isStale(entry), "lent after a silence without a check")
    resource.lent++
    this.totals.acquired++
    if (resource.lent > 1) this.totals.reused++
    entry.place = place
    entry.since = this.now
    entry.holder = holder
    entry.lease = entry.slot.lease
    entry.warned = false
  }

  private release(n: number, verdict: Recycler.Verdict | undefined): boolean {
    const entry = choose(this.places("leased"), n)
    if (entry === undefined) return false
    this.inHand(entry)
    if (verdict?._tag === "Close") this.verdict = "recycled"
    law(this.state.release(entry.slot, entry.lease, this.now, verdict), "a release was ignored")
    this.over.push({ slot: entry.slot, lease: entry.lease })
    if (verdict === undefined && !this.closes(entry.slot)) this.put(entry, "resetting")
    return true
  }

  private cancelGranted(n: number): boolean {
    const caller = choose(this.granted, n)
    if (caller === undefined) return false
    this.granted.splice(this.granted.indexOf(caller), 1)
    const entry = this.entries.get(caller.waiter.slot!)
    if (entry?.place === "granted") {
      this.inHand(entry)
      this.totals.acquired--
      if (entry.resource!.lent > 1) this.totals.reused--
      entry.resource!.lent--
    }
    this.state.cancel(caller.waiter, this.now)
    return true
  }

  private connected(entry: Entry | undefined): boolean {
    if (entry === undefined) return false
    const resource: Resource = {
      id: ++this.resources,
      openedAt: this.now,
      lent: 0,
      provenAt: this.now,
      invalidated: false,
      expired: false
    }
    entry.resource = resource
    this.inHand(entry)
    this.failing = undefined
    this.totals.opened++
    law(this.state.opened(entry.slot, resource, this.now), "an opened resource was refused")
    return true
  }

  private connectFailed(entry: Entry | undefined, kind: ConnectFailure["kind"]): boolean {
    if (entry === undefined) return false
    this.entries.delete(entry.slot)
    this.failed(kind, entry.since)
    this.state.openFailed(entry.slot, { kind, error: kind }, this.now)
    return true
  }

  private checked(entry: Entry | undefined, ok: boolean): boolean {
    if (entry === undefined) return false
    this.inHand(entry, ok)
    this.checksFail = !ok
    if (!ok) this.verdict = "checkFailed"
    this.state.checked(entry.slot, this.now, ok ? { ok } : { ok, error: "check" })
    return true
  }

  private reset(entry: Entry | undefined, outcome: Parameters<State<Resource>["reset"]>[2]): boolean {
    if (entry === undefined) return false
    this.inHand(entry)
    if (outcome._tag !== "Keep") this.verdict = outcome._tag === "Close" ? "recycled" : "resetFailed"
    this.state.reset(entry.slot, this.now, outcome)
    return true
  }

  private closed(entry: Entry | undefined, connected: boolean): boolean {
    if (entry === undefined) return false
    this.finishing = entry.slot
    if (entry.abandoned) {
      if (connected) law(!this.state.opened(entry.slot, {} as Resource, this.now), "an abandoned connect was taken in")
      this.state.openFailed(entry.slot, { kind: "failed", error: "late" }, this.now)
    } else {
      this.state.closed(entry.slot, this.now)
    }
    return true
  }

  private late(n: number, ok: boolean): boolean {
    const ghost = choose(this.ghosts, n)
    if (ghost === undefined) return false
    this.ghosts.splice(this.ghosts.indexOf(ghost), 1)
    this.unchanged(() => {
      switch (ghost.was) {
        case "connecting":
          if (ok) law(!this.state.opened(ghost.slot, {} as Resource, this.now), "a ghost was taken in")
          return this.state.openFailed(ghost.slot, { kind: "failed", error: "late" }, this.now)
        case "checking":
          return this.state.checked(ghost.slot, this.now, { ok })
        case "resetting":
          return this.state.reset(ghost.slot, this.now, ok ? Recycler.keep : { _tag: "Failed", error: "late" })
        case "closing":
          return this.state.closed(ghost.slot, this.now)
      }
    })
    return true
  }

  private drain(grace: number): void {
    this.graceEnds = Math.min(this.graceEnds, this.now + grace)
    this.draining = true
    this.state.drain(this.now, grace)
  }

  // ---------------------------------------------------------------------------------------------------------------
  // Commands
  // ---------------------------------------------------------------------------------------------------------------

  private settle(): void {
    const { commands } = this.state
    for (let i = 0; i < commands.length; i++) this.obey(commands[i]!)
    commands.length = 0
    for (const entry of this.places("moving")) {
      law(!this.draining, "a slot became idle while the pool closes")
      law(!entry.expired && !entry.resource!.invalidated, "a slot became idle that may not be lent again")
      this.put(entry, "idle")
    }
  }

  private obey(command: Command<Resource>) {
    this.note(command)
    switch (command._tag) {
      case "Connect":
        return this.connect(command.slot)
      case "Abandon": {
        const entry = this.entries.get(command.slot)!
        law(entry.place === "connecting", `${entry.place} was abandoned as if it were connecting`)
        const late = this.now >= entry.since + this.config.connectTimeout
        law(this.draining || late, "a connect was abandoned before its time")
        if (!this.draining) this.failed("failed", entry.since)
        entry.abandoned = true
        return this.put(entry, "closing")
      }
      case "Check": {
        const entry = this.entries.get(command.slot)!
        law(entry.place === "idle" && this.isStale(entry), "a check of what is not idle or not stale")
        return this.put(entry, "checking")
      }
      case "Close":
        return this.close(command.slot)
      case "Wake":
        return this.wake(command.waiter)
      case "Leak": {
        const entry = this.entries.get(command.slot)!
        law(entry.place === "leased" || entry.place === "granted", "a leak warning without a lease")
        law(!entry.warned && command.held >= this.config.leakAfter, "a leak warning too soon or twice")
        entry.warned = true
        this.totals.leaksSuspected++
        return
      }
      case "Event":
        return this.hear(command.event)
      case "Drained":
        law(this.entries.size === 0, "drained with something left")
        this.drained++
        return
    }
  }

  private connect(slot: Slot<Resource>): void {
    law(!this.draining, "a connect while the pool closes")
    const entry: Entry = {
      slot,
      place: "connecting",
      since: this.now,
      expired: false,
      abandoned: false,
      resource: undefined,
      lease: 0,
      holder: undefined,
      warned: false
    }
    this.entries.set(slot, entry)
    const connecting = this.count("connecting")
    law(connecting <= this.config.maxConnecting, "more connects at once than allowed")
    if (this.failing === undefined) return
    law(connecting <= 1, "more than one connect at once while opening fails")
    law(this.now >= this.failing.next, "an attempt before the backoff was over")
  }

  private close(slot: Slot<Resource>): void {
    const entry = this.entries.get(slot)!
    law(entry !== undefined && entry.place !== "connecting" && entry.place !== "closing", "closed what isn't open")
    law(this.mayClose(entry, slot.doomed), `closed for a reason that doesn't hold: ${slot.doomed}, was ${entry.place}`)
    if (slot.doomed === "forced") this.totals.forced++
    if (slot.doomed === "checkTimedOut") this.checksFail = true
    if (entry.place === "checking" || entry.place === "resetting") this.ghosts.push({ slot, was: entry.place })
    if (entry.place === "leased" || entry.place === "granted") this.over.push({ slot, lease: entry.lease })
    this.put(entry, "closing")
  }

  private mayClose(entry: Entry, reason: CloseReason | undefined): boolean {
    const { config, now } = this
    const waited = now - entry.since
    switch (reason) {
      case "idle":
        return entry.place === "idle" && waited >= config.idleTimeout && this.live > this.min
      case "lifetime":
        return now >= entry.resource!.openedAt + config.lifetime * (1 - config.lifetimeJitter)
      case "maxUses":
        return entry.resource!.lent >= config.maxUses
      case "expired":
        return entry.expired
      case "invalidated":
        return entry.resource!.invalidated
      case "recycled":
      case "checkFailed":
      case "resetFailed":
      case "hookFailed":
        return this.verdict === reason
      case "checkTimedOut":
        return entry.place === "checking" && waited >= config.checkTimeout
      case "resetTimedOut":
        return entry.place === "resetting" && waited >= config.resetTimeout
      case "resized":
        return this.live > this.max
      case "drained":
        return this.draining
      case "forced":
        return (entry.place === "leased" || entry.place === "granted") && now >= this.graceEnds
      default:
        return false
    }
  }

  private wake(waiter: Waiter<Resource>) {
    const [caller] = this.queue
    law(caller !== undefined && caller.waiter === waiter, "another than the oldest waiter was woken")
    this.queue.shift()
    law(++caller!.answers === 1, "a waiter was answered twice")
    if (waiter.status === Waiters.Granted) {
      const entry = this.entries.get(waiter.slot!)!
      law(entry.place === "moving", `a waiter was given a slot that is ${entry.place}`)
      this.lend(entry, caller!.holder, "granted")
      this.granted.push(caller!)
      return
    }
    law(waiter.status === Waiters.Rejected && waiter.slot === undefined, "a waiter was woken for nothing")
    this.met.add(`waited for: ${waiter.rejection?._tag}`)
    switch (waiter.rejection?._tag) {
      case "Timeout":
        this.totals.timedOut++
        return law(this.now >= caller!.since + this.config.acquireTimeout, "a waiter timed out before its deadline")
      case "Unavailable":
        this.totals.rejected++
        return law(this.open === 0 && this.count("connecting") === 0, "turned away although something is on its way")
      case "Closed":
        return law(this.draining, "PoolClosed from an open pool")
      default:
        return law(false, `a waiter was turned away with ${waiter.rejection?._tag}`)
    }
  }

  private hear(event: PoolEvent): void {
    this.met.add(event._tag === "Closed" ? `Closed: ${event.reason}, timed out: ${event.timedOut}` : event._tag)
    switch (event._tag) {
      case "Closed": {
        const entry = [...this.entries.values()].find((entry) => entry.slot.id === event.id)!
        law(entry?.place === "closing", "a slot was given back that wasn't closing")
        const late = this.now >= entry.since + this.config.closeTimeout
        law(event.timedOut ? late : this.finishing === entry.slot, "a slot was given back before its resource closed")
        if (event.timedOut) this.ghosts.push({ slot: entry.slot, was: entry.abandoned ? "connecting" : "closing" })
        this.entries.delete(entry.slot)
        this.totals.closed++
        return
      }
      case "Saturated":
        law(!this.saturated, "Saturated twice")
        this.saturated = true
        return
      case "Relieved":
        law(this.saturated && this.queue.length === 0, "Relieved without need or with waiters")
        this.saturated = false
        return
      case "Unavailable":
        law(!this.unavailable && this.open === 0 && this.count("connecting") === 0, "Unavailable with something open")
        law(
          this.failing?.kind === "fatal" || this.now - this.failing!.since >= this.config.unavailableAfter,
          "Unavailable before its time"
        )
        this.unavailable = true
        return
      case "Available":
        law(this.unavailable, "Available without having been unavailable")
        this.unavailable = false
        return
    }
  }

  // ---------------------------------------------------------------------------------------------------------------
  // Books
  // ---------------------------------------------------------------------------------------------------------------

  private inHand(entry: Entry, proven = true): void {
    entry.place = "moving"
    entry.holder = undefined
    if (proven) entry.resource!.provenAt = this.now
  }

  private put(entry: Entry, place: Place): void {
    entry.place = place
    entry.since = this.now
    entry.holder = undefined
  }

  private failed(kind: ConnectFailure["kind"], began: number): void {
    const { failing } = this
    const failures = (failing?.failures ?? 0) + 1
    const goesOn =
      failing !== undefined &&
      (failing.kind === "capacity") === (kind === "capacity") &&
      (this.unavailable || began - failing.next < this.config.unavailableAfter)
    const longest = Math.min(this.config.retryCap, this.config.retryBase * 2 ** (failures - 1))
    this.failing = { kind, failures, since: goesOn ? failing.since : began, last: this.now, next: this.now + longest }
    this.totals.connectFailures++
  }

  /** Chance has its share in the pause after a failure: the state says how long it is, the bounds are checked here. */
  private pause(): void {
    const { failing, state } = this
    if (failing === undefined || failing.last !== this.now || state.trouble === undefined) return
    const longest = Math.min(this.config.retryCap, this.config.retryBase * 2 ** (failing.failures - 1))
    const { nextAttempt } = state.trouble
    law(nextAttempt >= failing.last + longest / 2 && nextAttempt <= failing.last + longest, "a wrong pause")
    this.failing = { ...failing, next: nextAttempt }
  }

  private closes(slot: Slot<Resource>): boolean {
    return this.state.commands.some((command) => command._tag === "Close" && command.slot === slot)
  }

  /** What must change nothing at all. */
  private unchanged(f: () => void): void {
    const before = Laws.picture(this.state)
    f()
    law(this.state.commands.length === 0, "something late or repeated had consequences")
    law(Laws.picture(this.state) === before, "something late or repeated changed the state")
  }

  private note(command: Command<Resource>): void {
    const what =
      command._tag === "Event"
        ? `${command.event._tag}${"reason" in command.event ? ` (${command.event.reason})` : ""}`
        : "slot" in command
          ? `${command._tag} ${command.slot.id}`
          : command._tag
    this.log.push(`${this.now} ms, ${this.operation.kind} ${this.operation.n}: ${what}`)
  }
}

const choose = <A>(choices: ReadonlyArray<A>, n: number): A | undefined => choices[n % Math.max(choices.length, 1)]
