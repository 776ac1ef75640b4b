/**
 * Ends what a connection runs for somebody who does not want it any more. The connection does nothing else until both
 * are over, the statement and the cancel: only then can the cancel not hit another statement.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Driver from "./driver.ts"
import type { Session } from "./session.ts"

/** How long a cancelled statement, or a cursor that is left, may take to end before its connection is cut. */
const patience = Duration.seconds(5)

/**
 * Sends a cancel, and passes the turn on when the statement has ended too.
 *
 * @internal
 */
export const cancel = (session: Session, ended: Effect.Effect<void>): Effect.Effect<void> =>
  Effect.zipRight(
    bounded(session, untilEnded(session, ended), "A statement was interrupted, and cancelling it took too long"),
    Effect.sync(() => session.turn.pass())
  )

/**
 * Asks the server to cancel what runs, until that has ended. A cancel may overtake its own statement, and a pooler drops
 * it while the statement waits for a session. None is on its way when this ends.
 *
 * @internal
 */
export const untilEnded = (session: Session, ended: Effect.Effect<void>): Effect.Effect<void> =>
  Effect.flatMap(Effect.fork(ended), (ending) => {
    const again = (pause: number): Effect.Effect<void> =>
      Effect.zipRight(
        Driver.cancel(session.pg, session.config.stream),
        Effect.flatMap(Effect.timeoutOption(Fiber.join(ending), pause), (over) =>
          over._tag === "Some" ? Effect.void : again(pause * 2)
        )
      )
    return again(100)
  })

/**
 * Waits for the end of something that nobody wants any more; what takes too long costs the connection.
 *
 * @internal
 */
export const bounded = (session: Session, ending: Effect.Effect<void>, tooLong: string): Effect.Effect<void> =>
  ending.pipe(
    // Begun in an interrupt or in a finalizer, which are not interruptible themselves: no timeout would end it.
    Effect.interruptible,
    Effect.timeoutTo({
      duration: patience,
      onSuccess: () => undefined,
      onTimeout: () => session.cut(new Error(tooLong))
    })
  )
