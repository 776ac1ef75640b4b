/**
 * How a connection says good-bye.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Driver from "./driver.ts"
import type { Session } from "./session.ts"

/** How long a good-bye may take before the connection is cut: within the pool's own limit for closing. */
const patience = Duration.seconds(2)

/**
 * Until the server has ended its side too, whatever it was doing: only then may another one take the place.
 *
 * @internal
 */
export const close = (session: Session): Effect.Effect<void> =>
  Effect.suspend(() => {
    const { config, pg, pinging } = session
    session.leave()
    // Whoever gives up on a check has waited in vain: there is nobody to send a cancel or a good-bye to.
    if (pinging) Driver.cut(pg)
    const cancelled = Driver.isOpen(pg) && Driver.isBusy(pg) ? Driver.cancel(pg, config.stream) : Effect.void
    return Effect.zipRight(cancelled, Driver.end(pg)).pipe(
      Effect.interruptible,
      Effect.timeoutTo({ duration: patience, onSuccess: () => undefined, onTimeout: () => Driver.cut(pg) })
    )
  })
