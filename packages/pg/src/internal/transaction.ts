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
import * as DefaultServices from "effect/DefaultServices"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Tracer from "effect/Tracer"
import type { PgConnection } from "../PgConnection.ts"
import { TransactionRolledBack } from "../PgError.ts"

type Use = <A, E, R>(f: (connection: PgConnection) => Effect.Effect<A, E, R>) => Effect.Effect<A, E | SqlError, R>

/** Tells the trace how the transaction went. */
type Tell = (how: "commit" | "rollback" | "savepoint") => void

/** @internal */
export const make =
  (use: Use, spanAttributes: ReadonlyArray<readonly [string, unknown]>) =>
  <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E | SqlError, R> =>
    Effect.withFiberRuntime((fiber) => {
      const outer = Context.getOption(
        fiber.currentContext as Context.Context<TransactionConnection>,
        TransactionConnection
      )
      const transaction = (tell: Tell): Effect.Effect<A, E | SqlError, R> =>
        Option.isSome(outer)
          ? savepoint(outer.value[0], outer.value[1] + 1, effect, tell)
          : use((connection) => root(connection, effect, tell))
      // A span costs more than the rest of it all, so there is none where nobody listens.
      if (fiber.currentSpan === undefined && fiber.currentTracer === idleTracer) return transaction(() => {})
      return Effect.useSpan("sql.transaction", { kind: "client", captureStackTrace: false }, (span) =>
        Effect.clockWith((clock) => {
          for (const [key, value] of spanAttributes) span.attribute(key, value)
          return Effect.withParentSpan(
            transaction((how) => span.event(`db.transaction.${how}`, clock.unsafeCurrentTimeNanos())),
            span
          )
        })
      )
    })

/** The tracer that is there as long as no other is provided, and whose spans go nowhere. */
const idleTracer = Context.get(DefaultServices.liveServices, Tracer.Tracer)

const root = <A, E, R>(
  connection: PgConnection,
  effect: Effect.Effect<A, E, R>,
  tell: Tell
): Effect.Effect<A, E | SqlError, R> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.zipRight(
      restore(connection.executeUnprepared("BEGIN", [], undefined)),
      Effect.matchCauseEffect(restore(inside(effect, connection, 0)), {
        onFailure: (cause) => {
          tell("rollback")
          return Effect.zipRight(rollback(connection), Effect.failCause(cause))
        },
        onSuccess: (value) => {
          tell("commit")
          return Effect.as(commit(connection), value)
        }
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
  effect: Effect.Effect<A, E, R>,
  tell: Tell
): Effect.Effect<A, E | SqlError, R> => {
  const name = `effect_sql_${depth}`
  return Effect.uninterruptibleMask((restore) =>
    Effect.zipRight(
      restore(connection.executeUnprepared(`SAVEPOINT ${name}`, [], undefined)),
      Effect.matchCauseEffect(restore(inside(effect, connection, depth)), {
        // If this fails, so will the COMMIT of the whole: there is nothing to add here.
        onFailure: (cause) => {
          tell("rollback")
          return Effect.zipRight(
            Effect.ignoreLogged(connection.executeUnprepared(`ROLLBACK TO SAVEPOINT ${name}`, [], undefined)),
            Effect.failCause(cause)
          )
        },
        onSuccess: (value) => {
          tell("savepoint")
          return Effect.succeed(value)
        }
      })
    )
  )
}

const inside = <A, E, R>(effect: Effect.Effect<A, E, R>, connection: Connection, depth: number) =>
  Effect.provideService(effect, TransactionConnection, [connection, depth])
