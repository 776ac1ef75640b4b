/** What holds after each step, whatever it was. */
import type { State } from "../../src/internal/lanes/state.ts"
import type { Books } from "./books.ts"
import type { Item } from "./content.ts"
import { law } from "./law.ts"

/** What the state does not say. */
export interface Moment {
  readonly now: number
  /** The step was to dispatch, or the timer. */
  readonly dispatched: boolean
  readonly ticked: boolean
  /** Failures in a row that were no operation's own. */
  readonly failures: number
  readonly closedAt: number
}

export const check = (state: State<Item>, books: Books, moment: Moment): void => {
  const { now } = moment
  const waiting = books.queue()
  law(state.queued === waiting.queued, `queued is ${state.queued}, the books say ${waiting.queued}`)
  law(state.queuedBytes === waiting.queuedBytes, `bytes are ${state.queuedBytes}, the books say ${waiting.queuedBytes}`)
  law(state.inFlight.size === books.flights.length, "flights and books differ")
  law(books.flights.length <= state.config.maxInFlight, `${books.flights.length} in flight`)
  const lines = books.lines()
  law(state.lines.size === lines.length, `${state.lines.size} lines, the books say ${lines.length}`)
  let ready = 0
  let readyLines = 0
  for (const line of lines) {
    law(line.flying <= 1, `${line.flying} flushes of one thread`)
    if (line.flying === 0) {
      ready += line.queued.length
      readyLines++
    }
    const known = state.lines.get(line.thread)!
    let ticket = known.head
    for (const caller of line.queued) {
      law(ticket === caller.ticket, "a line out of order")
      ticket = ticket?.next
    }
    law(ticket === undefined && known.size === line.queued.length, "more in line than wait")
  }
  law(state.queuedReady === ready, `${state.queuedReady} ready, the books say ${ready}`)
  // Before it is dispatched: with a line too many two flushes of one thread would be next.
  law(state.ready.size === readyLines, `${state.ready.size} lines ready, the books say ${readyLines}`)
  if (moment.dispatched) {
    const lanes = moment.failures > 0 ? 1 : state.config.maxInFlight
    const idle = books.flights.length < lanes && now >= state.pausedUntil
    law(!idle || ready === 0, "a lane is free, and somebody waits who could go")
    if (state.queued > 0 && now < state.pausedUntil) {
      law(state.wakeAt <= state.pausedUntil, "nobody will wake after the pause")
    }
  }
  for (const { place, ticket } of books.live) {
    if (place !== "queued") continue
    law(state.wakeAt <= ticket.deadline || ticket.deadline <= now, "nobody will wake at a deadline")
    if (moment.ticked) law(ticket.deadline > now, "overdue after the timer has fired")
  }
  const empty = waiting.queued === 0 && books.flights.length === 0
  if (moment.closedAt < Number.POSITIVE_INFINITY) {
    law((state.phase === "closed") === empty, "closed too soon or too late")
  }
}
