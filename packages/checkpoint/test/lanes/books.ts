/** Who waits for what, kept beside the lanes' own account of it. */
import type * as Ticket from "../../src/internal/lanes/ticket.ts"
import type { Item } from "./content.ts"

export interface Caller {
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

/** The operations of one thread that are not over. */
export interface Line {
  readonly thread: string
  readonly queued: Array<Caller>
  /** Flushes that have some of them. */
  flying: number
}

export class Books {
  readonly callers = new Map<Ticket.Ticket<Item>, Caller>()
  /** Those of them who are queued or in flight. */
  readonly live = new Set<Caller>()
  readonly flights: Array<Ticket.Flush<Item>> = []

  of(ticket: Ticket.Ticket<Item>): Caller {
    return this.callers.get(ticket)!
  }

  add(ticket: Ticket.Ticket<Item>): void {
    const caller: Caller = {
      ticket,
      order: this.callers.size,
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
  }

  /** Takes those out who are over. */
  close(): void {
    for (const caller of this.live) if (caller.place === "over") this.live.delete(caller)
  }

  queue(): { readonly queued: number; readonly queuedBytes: number } {
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
  lines(): ReadonlyArray<Line> {
    const lines = new Map<string, Line>()
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
