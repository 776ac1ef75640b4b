/**
 * One statement and its answer.
 */
import type { Restore } from "@checkpool/pool/Pool"
import type { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import type * as Pg from "pg"
import type { StatementTimer } from "../PgConnection.ts"
import * as SqlState from "../SqlState.ts"
import { cancel } from "./cancel.ts"
import * as CommandTimeout from "./commandTimeout.ts"
import * as Driver from "./driver.ts"
import type { Session } from "./session.ts"
import { traitsOf } from "./traits.ts"

/** @internal */
export interface Statement extends Driver.Statement {
  /** Whether it is worth a prepared statement, if its text allows for one. */
  readonly prepare?: boolean | undefined
  /** Whether it is the pool's own and not a borrower's: not timed, and what it leaves behind is looked after. */
  readonly upkeep?: boolean | undefined
}

type Abandon = (ended: Effect.Effect<void>) => Effect.Effect<void>

/**
 * Runs a statement when its turn has come. If it is interrupted by then, it is cancelled in the background (or what else
 * `abandon` does), and the turn passes on when that is over.
 *
 * @internal
 */
export const run = <A>(
  session: Session,
  statement: Statement,
  pick: (result: Pg.QueryResult) => A,
  abandon?: Abandon
): Effect.Effect<A, SqlError> =>
  // Each statement goes this way: a canceler in `Effect.async` would take more steps.
  Effect.uninterruptibleMask((restore) => runMasked(session, statement, pick, restore, abandon))

/** Within a region that can't be interrupted, when it is run: the wait for the answer is as interruptible as `restore` makes it. @internal */
export const runMasked = <A>(
  session: Session,
  statement: Statement,
  pick: (result: Pg.QueryResult) => A,
  restore: Restore,
  abandon: Abandon = (ended) => Effect.asVoid(Effect.forkDaemon(cancel(session, ended)))
): Effect.Effect<A, SqlError> => {
  let state: "waiting" | "sent" | "answered" = "waiting"
  let resume: (answer: Effect.Effect<A, SqlError>) => void
  let onQuiet: (() => void) | undefined
  let time: ReturnType<StatementTimer> | undefined
  const wanted = CommandTimeout.wantedBy(session)
  const timeout = CommandTimeout.patienceOf(session, wanted)
  const answer = (result: Effect.Effect<A, SqlError>, error?: SqlError) => {
    state = "answered"
    time?.(error)
    if (onQuiet !== undefined) return onQuiet()
    session.turn.pass()
    resume(result)
  }
  const fail = (error: SqlError) => answer(Effect.fail(error), error)
  const send = (name: string | undefined) =>
    Driver.query(session.pg, statement, { name, timeout }, (cause, result) => {
      if (!cause) return answer(attempt(pick, result))
      if (Driver.isQueryTimeout(cause)) return giveUp(session.tooLate(wanted))
      session.fail(cause, (error) => {
        if (name === undefined) return fail(error)
        // The driver could not send its values, and had the server forget what it had just prepared.
        if (SqlState.of(error) === undefined) session.cache.forget(statement.text)
        if (onQuiet !== undefined || !isStale(error)) return fail(error)
        // The server has dropped it (26000) or changed what it gives (0A000): nothing was run. Within a transaction
        // it is too late for a second try, the server has failed the transaction.
        session.forgetPrepared()
        if (session.inTransaction || session.broken !== undefined) fail(error)
        else send(undefined)
      })
    })
  /** Tells the caller at once, as an interrupt would: the turn passes on when the server is quiet. */
  const giveUp = (error: SqlError) => {
    Driver.whenQuiet(session.pg, () => fail(error))
    resume(Effect.fail(error))
  }
  const start = () => {
    if (session.broken !== undefined) return fail(session.gone())
    state = "sent"
    const traits = traitsOf(statement.text)
    session.begin(statement.upkeep === true ? harmless : traits)
    if (statement.upkeep !== true) time = session.timer?.()
    CommandTimeout.enforce(session, wanted, traits, (error) => {
      if (error !== undefined) fail(error)
      else if (onQuiet !== undefined) answer(Effect.interrupt)
      else send(statement.prepare === true && traits.preparable ? prepare(session, statement.text) : undefined)
    })
  }
  const answered = Effect.async<A, SqlError>((resume_) => {
    resume = resume_
    session.turn.enter(start)
  })
  return Effect.catchAllCause(restore(answered), (cause) => {
    if (state === "waiting") session.turn.leave(start)
    if (state !== "sent") return Effect.failCause(cause)
    const ended = Effect.async<void>((resume) => {
      onQuiet = () => resume(Effect.void)
    })
    return Effect.zipRight(abandon(ended), Effect.failCause(cause))
  })
}

const harmless = traitsOf("")

/** The name under which a text is prepared. */
const prepare = ({ cache, pg }: Session, text: string): string | undefined => {
  const name = cache.nameOf(text)
  const excess = cache.takeExcess()
  if (excess.length > 0) Driver.closeStatements(pg, excess)
  return name
}

/** What throws here would throw into the driver. */
const attempt = <A>(pick: (result: Pg.QueryResult) => A, result: Pg.QueryResult): Effect.Effect<A> => {
  try {
    return Effect.succeed(pick(result))
  } catch (defect) {
    return Effect.die(defect)
  }
}

const isStale = (error: SqlError): boolean => {
  const sqlState = SqlState.of(error)
  return sqlState === "26000" || (sqlState === "0A000" && /cached plan/.test(String(error.cause)))
}
