/**
 * `withTransaction`, in the place of the one of `@effect/sql`, under the same tag, so that nesting works across both.
 *
 * Theirs waits uninterruptibly for a connection and for BEGIN, turns a failed COMMIT into a defect, rolls back what never
 * began, and takes a COMMIT that the server answered with ROLLBACK for a success. Here only COMMIT and ROLLBACK
 * themselves are uninterruptible, and each of these is a typed error.
 */
import { TransactionConnection } from "@effect/sql/SqlClient"
import type { Connection } from "@effect/sql/SqlConnection"
import { SqlError } from "@effect/sql/SqlError"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Tracer from "effect/Tracer"
import type { PgConnection } from "../PgConnection.ts"
import { TransactionRolledBack } from "../TransactionRolledBack.ts"

type Use = <A, E, R>(f: (connection: PgConnection) => Effect.Effect<A, E, R>) => Effect.Effect<A, E | SqlError, R>

/** @internal */
export const make =
  (use: Use, spanAttributes: ReadonlyArray<readonly [string, unknown]>) =>
  <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E | SqlError, R> =>
    Effect.contextWithEffect((context: Context.Context<R>) => {
      const outer = Context.getOption(context as Context.Context<TransactionConnection>, TransactionConnection)
      const transaction = Option.isSome(outer)
        ? savepoint(outer.value[0], outer.value[1] + 1, effect)
        : use((connection) => root(connection, effect))
      // A span costs more than the rest of it all, so there is none where nobody has begun a trace.
      return Option.isNone(Context.getOption(context as Context.Context<Tracer.ParentSpan>, Tracer.ParentSpan))
        ? transaction
        : Effect.withSpan(transaction, "sql.transaction", {
            kind: "client",
            captureStackTrace: false,
            attributes: Object.fromEntries(spanAttributes)
          })
    })

const root = <A, E, R>(connection: PgConnection, effect: Effect.Effect<A, E, R>): Effect.Effect<A, E | SqlError, R> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.zipRight(
      restore(connection.executeUnprepared("BEGIN", [], undefined)),
      Effect.matchCauseEffect(restore(inside(effect, connection, 0)), {
        onFailure: (cause) => Effect.zipRight(rollback(connection), Effect.failCause(cause)),
        onSuccess: (value) => Effect.as(commit(connection), value)
      })
    )
  )

/** A connection that is gone takes its transaction along; one that can't roll back is not lent again. */
const rollback = (connection: PgConnection): Effect.Effect<void> =>
  connection.broken === undefined
    ? Effect.ignoreLogged(connection.executeUnprepared("ROLLBACK", [], undefined))
    : Effect.void

const commit = (connection: PgConnection): Effect.Effect<void, SqlError> =>
  Effect.flatMap(connection.executeCommand("COMMIT"), (command) =>
    command === "COMMIT"
      ? Effect.void
      : Effect.fail(
          new SqlError({
            cause: new TransactionRolledBack({ command }),
            message: "The transaction was not committed: a statement in it had failed, so the server rolled it back"
          })
        )
  )

const savepoint = <A, E, R>(
  connection: Connection,
  depth: number,
  effect: Effect.Effect<A, E, R>
): Effect.Effect<A, E | SqlError, R> => {
  const name = `effect_sql_${depth}`
  return Effect.uninterruptibleMask((restore) =>
    Effect.zipRight(
      restore(connection.executeUnprepared(`SAVEPOINT ${name}`, [], undefined)),
      Effect.catchAllCause(restore(inside(effect, connection, depth)), (cause) =>
        // If this fails, so will the COMMIT of the whole: there is nothing to add here.
        Effect.zipRight(
          Effect.ignoreLogged(connection.executeUnprepared(`ROLLBACK TO SAVEPOINT ${name}`, [], undefined)),
          Effect.failCause(cause)
        )
      )
    )
  )
}

const inside = <A, E, R>(effect: Effect.Effect<A, E, R>, connection: Connection, depth: number) =>
  Effect.provideService(effect, TransactionConnection, [connection, depth])
