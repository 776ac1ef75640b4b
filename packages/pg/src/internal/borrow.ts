/**
 * Borrowing from the pool on behalf of an operation: failures become `SqlError`s, and a wait shows in the operation's
 * trace.
 */
import type { Pool, Restore } from "@checkpool/pool/Pool"
import type { PoolError } from "@checkpool/pool/PoolError"
import { SqlError } from "@effect/sql/SqlError"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type * as Tracer from "effect/Tracer"
import type { PgConnection } from "../PgConnection.ts"
import { poolNameLabel } from "../PgPoolMetrics.ts"

/** Waits from here on are worth an event, in nanoseconds: an idle connection is there within microseconds. */
const noticed = 1_000_000n

/**
 * Borrows a connection for the time of an effect. Only what acquiring fails with is made a `SqlError`: a user's own effect
 * may fail with a pool's error too.
 *
 * @internal
 */
export const use = <A, E, R>(
  pool: Pool<PgConnection>,
  f: (connection: PgConnection) => Effect.Effect<A, E, R>
): Effect.Effect<A, E | SqlError, R> =>
  Effect.flatten(
    Effect.mapError(
      tellingWaits(pool, (told) => pool.use((connection) => Effect.exit(f(told(connection))))),
      asSqlError
    )
  )

/**
 * Borrows a connection for the time of a statement, which is run in the region in which the connection is taken and given
 * back: it would begin with such a region itself.
 *
 * @internal
 */
export const run = <A>(
  pool: Pool<PgConnection>,
  f: (connection: PgConnection, restore: Restore) => Effect.Effect<A, SqlError>
): Effect.Effect<A, SqlError> =>
  // Not `mapError`: that takes a step in success, too.
  Effect.catchAllCause(
    tellingWaits(pool, (told) => pool.useMask((connection, restore) => f(told(connection), restore))),
    (cause) => Effect.failCause(Cause.map(cause, asSqlError))
  )

/** Borrows a connection until the scope closes. @internal */
export const get = (pool: Pool<PgConnection>): Effect.Effect<PgConnection, SqlError, Scope.Scope> =>
  Effect.mapError(
    tellingWaits(pool, (told) => Effect.map(pool.get, told)),
    asSqlError
  )

const asSqlError = (error: PoolError | SqlError): SqlError =>
  error instanceof SqlError ? error : new SqlError({ cause: error, message: error.message })

/** Has `told` called when the connection is there, and adds an event to the span that waited for it. */
const tellingWaits = <A, E, R>(
  pool: Pool<PgConnection>,
  borrow: (told: (connection: PgConnection) => PgConnection) => Effect.Effect<A, E, R>
): Effect.Effect<A, E, R> =>
  Effect.withFiberRuntime(({ currentSpan }) => {
    if (currentSpan?._tag !== "Span") return borrow(untold)
    const span: Tracer.Span = currentSpan
    return Effect.clockWith((clock) => {
      const began = clock.unsafeCurrentTimeNanos()
      return borrow((connection) => {
        const now = clock.unsafeCurrentTimeNanos()
        if (now - began >= noticed) {
          span.event("connection.acquired", now, {
            [poolNameLabel]: pool.name,
            "db.client.connection.wait_time": Number(now - began) / 1e9
          })
        }
        return connection
      })
    })
  })

const untold = (connection: PgConnection): PgConnection => connection
