/**
 * A line in which everything takes the same time and keeps its order.
 *
 * Node's own timers and clock, not Effect's: a network's delays stay real under a test clock, and a fiber for each
 * chunk would cost more time than it measures. Timers are whole milliseconds and up to one late, so the line wakes
 * early and watches the clock for the rest, between other work of the event loop.
 */
export interface DelayLine {
  /** Runs the task when the delay is over. */
  readonly push: (task: () => void) => void
  /** Sets the delay of what is pushed from now on. What is in the line already stays ahead of it. */
  readonly setDelay: (millis: number) => void
  /** Holds everything in the line until `thaw`. */
  readonly freeze: () => void
  /** Goes on; what should have run meanwhile runs at once. */
  readonly thaw: () => void
  /** Forgets everything in the line. */
  readonly clear: () => void
}

interface Entry {
  readonly due: number
  readonly task: () => void
}

/** An empty line. */
export const make = (initialDelay: number): DelayLine => {
  let delay = initialDelay
  let entries: Array<Entry> = []
  let first = 0
  let frozen = false
  let cancel: (() => void) | undefined

  // Invariant: while the line is not frozen and not empty, exactly one wake-up is under way.
  const schedule = (due: number) => {
    const rest = due - performance.now()
    if (rest > 2.2) {
      const timer = setTimeout(wake, Math.floor(rest - 1.2))
      cancel = () => clearTimeout(timer)
    } else {
      const immediate = setImmediate(wake)
      cancel = () => clearImmediate(immediate)
    }
  }

  const wake = () => {
    cancel = undefined
    const now = performance.now()
    for (let entry = entries[first]; !frozen && entry !== undefined && entry.due <= now; entry = entries[first]) {
      first++
      entry.task()
    }
    if (first === entries.length || (first > 64 && 2 * first > entries.length)) {
      entries = entries.slice(first)
      first = 0
    }
    const next = entries[first]
    if (!frozen && cancel === undefined && next !== undefined) schedule(next.due)
  }

  return {
    push: (task) => {
      const last = entries.at(-1)
      if (delay === 0 && last === undefined && !frozen) return task()
      const due = Math.max(performance.now() + delay, last?.due ?? 0)
      entries.push({ due, task })
      if (!frozen && cancel === undefined) schedule(due)
    },
    setDelay: (millis) => {
      delay = millis
    },
    freeze: () => {
      frozen = true
      cancel?.()
      cancel = undefined
    },
    thaw: () => {
      frozen = false
      if (cancel === undefined) wake()
    },
    clear: () => {
      cancel?.()
      cancel = undefined
      entries = []
      first = 0
    }
  }
}
