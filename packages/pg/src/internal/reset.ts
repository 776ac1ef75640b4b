/**
 * What the next borrower must not find is taken away, and what it is to find is put in place.
 */
import { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import { identity } from "effect/Function"
import * as Driver from "./driver.ts"
import * as Query from "./query.ts"
import type { Session } from "./session.ts"

/**
 * Waits until the session is quiet, and brings it back to where it was after connecting if need be.
 *
 * @internal
 */
export const reset = (session: Session, settleIn: Effect.Effect<void, SqlError>): Effect.Effect<void, SqlError> =>
  Effect.flatMap(session.turn.take, () => {
    session.turn.pass()
    if (!session.touched && !session.inTransaction) return Effect.void
    // Begun on the driver's client, a COPY say: only its borrower could end it.
    if (Driver.isBusy(session.pg)) return Effect.fail(new SqlError({ cause: new Error("A query is under way") }))
    // Behind a pooler the session is another one by now, and the pooler's to reset.
    const text = session.config.pooler === undefined ? resetText(session.inTransaction) : "ROLLBACK"
    return Effect.zipRight(
      Query.run(session, { text, upkeep: true }, identity),
      Effect.suspend(() => {
        session.forgetPrepared()
        return settleIn
      })
    )
  })

/**
 * Does what `DISCARD ALL` does, in one round trip also when a transaction is open: `DISCARD ALL` itself can't run in the
 * same text as a `ROLLBACK`. Settings return to what the start-up of the connection asked for.
 */
const resetText = (inTransaction: boolean): string =>
  `${inTransaction ? "ROLLBACK; " : ""}CLOSE ALL; SET SESSION AUTHORIZATION DEFAULT; RESET ALL; DEALLOCATE ALL; ` +
  "UNLISTEN *; SELECT pg_advisory_unlock_all(); DISCARD PLANS; DISCARD TEMP; DISCARD SEQUENCES"
