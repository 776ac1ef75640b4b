/**
 * Streams: a cursor of the server, read in pieces. It has the connection for itself until it is closed.
 */
import { SqlError } from "@effect/sql/SqlError"
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type Cursor from "pg-cursor"
import { CommandTimeout as CommandTimeoutError } from "../PgError.ts"
import * as Cancel from "./cancel.ts"
import * as CommandTimeout from "./commandTimeout.ts"
import * as Driver from "./driver.ts"
import type { Session } from "./session.ts"
import { traitsOf } from "./traits.ts"

type TransformRows = (<A extends object>(row: ReadonlyArray<A>) => ReadonlyArray<A>) | undefined

/** How many rows are asked for at once, as in sql-pg. */
const rowsAtOnce = 128

interface Open {
  readonly cursor: Cursor
  /** Set while rows are on their way: calls back when they are there, or never will be. */
  onAnswer: (() => void) | undefined
  reading: boolean
}

/**
 * The command timeout holds for each piece, however slowly they are consumed. As the server knows no such limit, the
 * client sees to it.
 *
 * @internal
 */
export const stream = (
  session: Session,
  sql: string,
  params: ReadonlyArray<unknown>,
  transformRows: TransformRows
): Stream.Stream<object, SqlError> =>
  Stream.unwrapScoped(
    Effect.suspend(() => {
      const timeout = CommandTimeout.wantedBy(session)
      return Effect.map(open(session, sql, params), (open) => {
        const piece = read(session, open, transformRows)
        return Stream.repeatEffectChunkOption(
          Number.isFinite(timeout)
            ? Effect.timeoutFail(piece, { duration: timeout, onTimeout: () => Option.some(tooLate(timeout)) })
            : piece
        )
      })
    })
  )

const open = (
  session: Session,
  sql: string,
  params: ReadonlyArray<unknown>
): Effect.Effect<Open, SqlError, Scope.Scope> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.flatMap(restore(session.turn.take), () => {
      const passTurn = Effect.sync(() => session.turn.pass())
      if (session.broken !== undefined) return Effect.zipRight(passTurn, Effect.fail(session.gone()))
      session.begin(traitsOf(sql))
      const limited = session.config.pooler === undefined
      // For its transaction only: when that is over, the limit is what it was.
      if (limited && session.inTransaction) session.enforced = undefined
      const cursor = Driver.openCursor(session.pg, sql, params, limited)
      const open: Open = { cursor, reading: false, onAnswer: undefined }
      return Effect.as(
        Effect.addFinalizer(() => Effect.ensuring(close(session, open), passTurn)),
        open
      )
    })
  )

const read = (session: Session, open: Open, transformRows: TransformRows) =>
  Effect.async<Chunk.Chunk<object>, Option.Option<SqlError>>((resume) => {
    open.reading = true
    const answer = (result: Effect.Effect<Chunk.Chunk<object>, Option.Option<SqlError>>) => {
      open.reading = false
      open.onAnswer?.()
      resume(result)
    }
    open.cursor.read(rowsAtOnce, (error, rows) => {
      if (error) session.fail(error, (sqlError) => answer(Effect.fail(Option.some(sqlError))))
      else if (rows.length === 0) answer(Effect.fail(Option.none()))
      else answer(Effect.sync(() => Chunk.unsafeFromArray(transformRows === undefined ? rows : transformRows(rows))))
    })
  })

const close = (session: Session, open: Open): Effect.Effect<void> => {
  const answered = Effect.async<void>((resume) => {
    if (open.reading) open.onAnswer = () => resume(Effect.void)
    else resume(Effect.void)
  })
  const closed = Effect.suspend(() => {
    if (session.broken !== undefined) return Effect.void
    if (Driver.isBusy(session.pg)) {
      return Effect.async<void>((resume) => Driver.closeCursor(session.pg, open.cursor, () => resume(Effect.void)))
    }
    if (Driver.isReady(session.pg)) return Effect.void
    // It has ended badly between two reads, where nobody heard of it. The end of the connection may still be on its way.
    return Effect.async<void>((resume) => Driver.whenQuiet(session.pg, () => resume(Effect.void)))
  })
  return Effect.suspend(() =>
    Cancel.bounded(
      session,
      // What waits for rows can't be closed before they are there: the driver would confuse the answers to come.
      open.reading ? Effect.zipRight(Cancel.untilEnded(session, answered), closed) : closed,
      "A stream was left, and closing its cursor took too long"
    )
  )
}

const tooLate = (timeout: number): SqlError =>
  new SqlError({ cause: new CommandTimeoutError({ timeout }), message: "Failed to execute statement" })
