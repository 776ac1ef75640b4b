/**
 * Streams: a cursor of the server, read in pieces. It has the connection for itself until it is closed.
 */
import type { SqlError } from "@effect/sql/SqlError"
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import Cursor from "pg-cursor"
import * as Cancel from "./cancel.ts"
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

/** @internal */
export const stream = (
  session: Session,
  sql: string,
  params: ReadonlyArray<unknown>,
  transformRows: TransformRows
): Stream.Stream<object, SqlError> =>
  Stream.unwrapScoped(
    Effect.map(open(session, sql, params), (open) => Stream.repeatEffectChunkOption(read(session, open, transformRows)))
  )

const open = (
  session: Session,
  sql: string,
  params: ReadonlyArray<unknown>
): Effect.Effect<Open, SqlError, Scope.Scope> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.flatMap(restore(session.turn.take), () => {
      if (session.broken !== undefined) {
        session.turn.pass()
        return Effect.fail(session.gone())
      }
      session.begin(traitsOf(sql))
      const cursor = session.pg.query(new Cursor(sql, params as Array<unknown>))
      const open: Open = { cursor, reading: false, onAnswer: undefined }
      return Effect.as(
        Effect.addFinalizer(() =>
          Effect.ensuring(
            close(session, open),
            Effect.sync(() => session.turn.pass())
          )
        ),
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
  const tooLong = "A stream was left, and closing its cursor took too long"
  const answered = Effect.async<void>((resume) => {
    if (open.reading) open.onAnswer = () => resume(Effect.void)
    else resume(Effect.void)
  })
  const cancelled = Effect.all([answered, Driver.cancel(session.pg, session.config.stream)], {
    concurrency: 2,
    discard: true
  })
  const closed = Effect.suspend(() =>
    // It may have ended by itself, also badly and unnoticed: between two reads.
    session.broken !== undefined || !Driver.isBusy(session.pg)
      ? Effect.void
      : Effect.async<void>((resume) => Driver.closeCursor(session.pg, open.cursor, () => resume(Effect.void)))
  )
  return Effect.suspend(() => {
    Driver.endTimer(open.cursor)
    // What waits for rows can't be closed before they are there: the driver would confuse the answers to come.
    return Cancel.bounded(session, open.reading ? Effect.zipRight(cancelled, closed) : closed, tooLong)
  })
}
