/**
 * Many users at once, each of whom does something again and again.
 */
import * as Effect from "effect/Effect"

/**
 * How many nanoseconds it takes for one user to do it once. Between two times a user does not yield, as `Effect.repeatN`
 * does: that alone takes longer than what is to be measured.
 */
export const effects = (users: number, times: number, once: Effect.Effect<unknown, unknown>): Promise<number> =>
  timed(users, times, () =>
    Effect.runPromise(
      Effect.exit(
        Effect.all(
          Array.from({ length: users }, () => repeat(once, times)),
          { concurrency: "unbounded", discard: true }
        )
      )
    )
  )

/** The same for promises. */
export const promises = (users: number, times: number, once: () => Promise<unknown>): Promise<number> => {
  const user = async () => {
    for (let i = 0; i < times; i++) await once()
  }
  return timed(users, times, () => Promise.all(Array.from({ length: users }, user)))
}

const repeat = <E>(once: Effect.Effect<unknown, E>, times: number): Effect.Effect<void, E> =>
  Effect.suspend(() => {
    let done = 0
    return Effect.whileLoop({ while: () => done < times, body: () => once, step: () => void done++ })
  })

const timed = async (users: number, times: number, run: () => Promise<unknown>): Promise<number> => {
  const began = process.hrtime.bigint()
  await run()
  return Number(process.hrtime.bigint() - began) / (users * times)
}
