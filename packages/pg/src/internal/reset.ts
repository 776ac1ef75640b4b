/**
 * What the next borrower must not find is taken away, and what it is to find is put in place.
 */
import { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import { identity } from "effect/Function"
import * as Pg from "pg"
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
    const text = textFor(session)
    if (text === undefined) return Effect.void
    // Begun on the driver's client, a COPY say: only its borrower could end it.
    if (Driver.isBusy(session.pg)) return Effect.fail(new SqlError({ cause: new Error("A query is under way") }))
    // What it is now does not matter.
    session.enforced = session.limit
    return Effect.flatMap(Query.run(session, { text, upkeep: true }, identity), () => {
      session.altered = false
      session.enforced = session.limit
      if (text === restoreTimeout) return Effect.void
      session.forgetPrepared()
      return settleIn
    })
  })

const restoreTimeout = "SET statement_timeout TO DEFAULT"

const textFor = (session: Session): string | undefined => {
  const { altered, channels, config, inTransaction, touched } = session
  // Behind a pooler the session is another one by now, and the pooler's to reset.
  if (config.pooler !== undefined) return inTransaction ? "ROLLBACK" : undefined
  if (touched || inTransaction || config.reset === "always") return discardAll(inTransaction, channels)
  return altered ? restoreTimeout : undefined
}

/**
 * Does what `DISCARD ALL` does, in one round trip also when a transaction is open: `DISCARD ALL` itself can't run in the
 * same text as a `ROLLBACK`. Settings return to what the start-up of the connection asked for. As it is one transaction,
 * channels that are listened to again miss nothing.
 */
const discardAll = (inTransaction: boolean, channels: ReadonlySet<string>): string =>
  `${inTransaction ? "ROLLBACK; " : ""}CLOSE ALL; SET SESSION AUTHORIZATION DEFAULT; RESET ALL; DEALLOCATE ALL; ` +
  "UNLISTEN *; SELECT pg_advisory_unlock_all(); DISCARD PLANS; DISCARD TEMP; DISCARD SEQUENCES" +
  [...channels].map((channel) => `; LISTEN ${Pg.escapeIdentifier(channel)}`).join("")
