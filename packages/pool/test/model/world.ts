/**
 * The world around the state: callers that arrive, leave and give back, resources that open, hang and break, a clock.
 *
 * It keeps its own books of who waits, who holds what and what became of each resource, so that the state's word can be
 * held against them. What contradicts a law is thrown as `Broken`. What callers do stands in `callers`, what the other
 * side does in `outside`, what the state asks for and tells in `commands` and `events`; `step` puts them together.
 */
import type { Command } from "../../src/internal/state/command.ts"
import type { Config } from "../../src/internal/state/config.ts"
import type { ConnectFailure } from "../../src/internal/state/outage.ts"
import type { Slot } from "../../src/internal/state/slot.ts"
import { State } from "../../src/internal/state/state.ts"
import type { Waiter } from "../../src/internal/state/waiters.ts"
import type { CloseReason } from "../../src/PoolEvent.ts"
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
  resources = 0
  failing: Failing | undefined
  checksFail = false
  min: number
  max: number
  warm: boolean
  /** How many slots there were after the last step. */
  total = 0
  draining = false
  graceEnds = Number.POSITIVE_INFINITY
  drained = 0
  saturated = false
  unavailable = false
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

  // Of the step at hand.

  operation: Operation = { kind: "pass", n: 0 }
  ticked = false
  /** What it gave back, so that the pool may close it for the answer's sake. */
  verdict: CloseReason | undefined
  /** What it has closed. */
  finishing: Slot<Resource> | undefined

  readonly log: Array<string> = []
  /** What this run has met: operations, events, reasons, refusals. */
  readonly met = new Set<string>()

  constructor(config: Config) {
    this.config = config
    this.state = new State(config)
    this.min = config.min
    this.max = config.max
    this.warm = config.warm
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

  /** Nobody holds it; where it goes, the commands will say. */
  inHand(entry: Entry, proven = true): void {
    entry.place = "moving"
    entry.holder = undefined
    if (proven) entry.resource!.provenAt = this.now
  }

  put(entry: Entry, place: Place): void {
    entry.place = place
    entry.since = this.now
    entry.holder = undefined
  }

  lend(entry: Entry, holder: number, place: "leased" | "granted"): void {
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

  /** An attempt to open has failed. */
  failed(kind: ConnectFailure["kind"], began: number): void {
    const { failing } = this
    const failures = (failing?.failures ?? 0) + 1
    const goesOn =
      failing !== undefined &&
      (failing.kind === "capacity") === (kind === "capacity") &&
      (this.unavailable || began - failing.next < this.config.unavailableAfter)
    const next = this.now + this.longestPause(failures)
    this.failing = { kind, failures, since: goesOn ? failing.since : began, last: this.now, next }
    this.totals.connectFailures++
  }

  longestPause(failures: number): number {
    return Math.min(this.config.retryCap, this.config.retryBase * 2 ** (failures - 1))
  }

  note(command: Command<Resource>): void {
    const what =
      command._tag === "Event"
        ? `${command.event._tag}${"reason" in command.event ? ` (${command.event.reason})` : ""}`
        : "slot" in command
          ? `${command._tag} ${command.slot.id}`
          : command._tag
    this.log.push(`${this.now} ms, ${this.operation.kind} ${this.operation.n}: ${what}`)
  }
}

/** The `n`th, counted round and round. */
export const choose = <A>(choices: ReadonlyArray<A>, n: number): A | undefined =>
  choices[n % Math.max(choices.length, 1)]
