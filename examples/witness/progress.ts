/**
 * What is shown while it runs: a line for each phase; on a terminal it lives, elsewhere it comes when the phase is over.
 */
import { Effect, Schedule } from "effect"

export interface Progress {
  readonly note: (text: string) => Effect.Effect<void>
  /** Shows the title while the effect runs, with how far it is; afterwards with what came out. */
  readonly during: <A, E, R>(
    title: string,
    options: {
      readonly now?: (() => string) | undefined
      readonly done: (result: A) => string
    },
    effect: Effect.Effect<A, E, R>
  ) => Effect.Effect<A, E, R>
}

export interface Output {
  readonly write: (text: string) => unknown
  /** Whether lines can be written over. */
  readonly live: boolean
  readonly columns: number
}

const titleWidth = 36
const clearLine = "\r\u001b[2K"

export const make = (output: Output): Progress => {
  const line = (title: string, rest: string) => `${title.padEnd(titleWidth)} ${rest}`.slice(0, output.columns - 1)
  const write = (text: string) => Effect.sync(() => void output.write(text))
  return {
    note: (text) => write(`${text}\n`),
    during: (title, { done, now }, effect) => {
      const finished = effect.pipe(Effect.tap((result) => write(`${line(title, done(result))}\n`)))
      if (!output.live) return finished
      const show = Effect.suspend(() => write(clearLine + line(title, now?.() ?? "…")))
      return effect.pipe(
        Effect.raceFirst(Effect.zipRight(Effect.repeat(show, Schedule.spaced("100 millis")), Effect.never)),
        Effect.ensuring(write(clearLine)),
        Effect.tap((result) => write(`${line(title, done(result))}\n`))
      )
    }
  }
}
