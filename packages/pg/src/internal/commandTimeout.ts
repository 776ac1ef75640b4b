/**
 * How long statements may take: the pool's limit, or another one for some fibers.
 *
 * The server enforces it (`statement_timeout`): set at start-up, and again before a statement for which another limit
 * holds. What is set then stays until a statement wants otherwise or the connection is given back, so that a series of
 * long statements costs one round trip more, not one each. Behind a pooler the client enforces it alone.
 */
import type { SqlError } from "@effect/sql/SqlError"
import * as Duration from "effect/Duration"
import * as Fiber from "effect/Fiber"
import * as FiberRef from "effect/FiberRef"
import { globalValue } from "effect/GlobalValue"
import type { PgPoolConfig } from "../PgPoolConfig.ts"
import { defaults } from "../PgPoolConfig.ts"
import * as Driver from "./driver.ts"
import type { Session } from "./session.ts"
import type { Traits } from "./traits.ts"

/** What a fiber wants instead of the pool's limit, in ms. @internal */
export const override = globalValue("@checkpool/pg/commandTimeout", () =>
  FiberRef.unsafeMake<number | undefined>(undefined)
)

/** The pool's limit in ms, infinite for none. @internal */
export const limitOf = (config: PgPoolConfig): number =>
  Duration.toMillis(config.commandTimeout ?? defaults.commandTimeout)

/** The longest that the server and timers know, in ms; what is longer is no limit. */
const longest = 2 ** 31 - 1

/** As a setting of the server, where 0 means none. @internal */
export const toSetting = (millis: number): number => (millis > longest ? 0 : Math.max(Math.ceil(millis), 1))

/** What holds for a statement of the current fiber. @internal */
export const wantedBy = (session: Session): number => {
  const fiber = Fiber.getCurrentFiber()
  return (fiber._tag === "Some" ? fiber.value.getFiberRef(override) : undefined) ?? session.limit
}

/** How long the client waits: for the server to say that it took too long, or alone behind a pooler. @internal */
export const patienceOf = (session: Session, wanted: number): number | undefined => {
  const patience = session.config.pooler === undefined ? wanted + 1000 : wanted
  return patience > longest ? undefined : patience
}

/** Makes the server enforce what is wanted for the statement that comes next, if it does not. @internal */
export const enforce = (
  session: Session,
  wanted: number,
  traits: Traits,
  next: (error: SqlError | undefined) => void
): void => {
  const proceed = () => {
    // It may end or roll back a transaction, and with it what was set in it.
    if (session.altered && !traits.preparable) session.enforced = undefined
    next(undefined)
  }
  // A failed transaction takes nothing but its end, which needs no limit.
  if (session.enforced === wanted || session.config.pooler !== undefined || session.pg.getTransactionStatus() === "E") {
    proceed()
    return
  }
  session.altered = true
  const value = wanted === session.limit ? "DEFAULT" : toSetting(wanted)
  Driver.query(
    session.pg,
    { text: `SET statement_timeout TO ${value}` },
    { timeout: patienceOf(session, session.limit) },
    (cause) => {
      if (cause) {
        session.fail(cause, next)
      } else {
        session.enforced = wanted
        proceed()
      }
    }
  )
}
