/**
 * One connection to Postgres, as it is lent by a `PgPool`: a `Connection` of `@effect/sql`, with the raw `pg` client
 * beside it.
 *
 * It runs one statement at a time, in the order of their arrival. A statement that is interrupted is cancelled on the
 * server; the connection runs nothing else before the server is done with both the statement and the cancel, so that a
 * cancel hits only what it was meant for.
 *
 * @since 0.1.0
 */
import type { Connection } from "@effect/sql/SqlConnection"
import type { SqlError } from "@effect/sql/SqlError"
import type * as Effect from "effect/Effect"
import type * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import type * as Pg from "pg"
import * as Driver from "./internal/driver.ts"
import * as internal from "./internal/open.ts"
import type { PgPoolConfig } from "./PgPoolConfig.ts"
import * as SqlState from "./SqlState.ts"

/**
 * A connection.
 *
 * @category models
 * @since 0.1.0
 */
export interface PgConnection extends Connection {
  /**
   * The driver's client. What is run on it directly escapes the accounting: do so inside of `reserve` only. Asking for it
   * counts as leaving something behind.
   */
  readonly client: Pg.Client
  /** The server process that serves it, as in `pg_stat_activity.pid`. */
  readonly processId: number
  /** Statements run so far. */
  readonly statements: number
  /** Why it is of no use any more, once it is. */
  readonly broken: unknown
  /** Runs a command and gives the tag that the server completed it with: `COMMIT`, or `ROLLBACK` instead, say. */
  readonly executeCommand: (command: string) => Effect.Effect<string, SqlError>
  /** Prepared statements that the server holds for it. */
  readonly prepared: number
  /**
   * Whether the next borrower would find something of this one: a statement that is still being cancelled, an open
   * transaction, a setting, a lock, …
   */
  readonly dirty: boolean
  /** Waits until it is quiet, and brings the session back to where it was after connecting if need be. */
  readonly reset: Effect.Effect<void, SqlError>
  /** One round trip that proves that the server answers. */
  readonly ping: Effect.Effect<void, SqlError>
  /** Calls back when the connection breaks, also while it is idle; at once if it has. */
  readonly onBroken: (listener: (cause: unknown) => void) => void
  /** Listens to a channel until `unlisten`, through resets too: not for borrowers, who leave no such thing behind. */
  readonly listen: (channel: string) => Effect.Effect<void, SqlError>
  readonly unlisten: (channel: string) => Effect.Effect<void, SqlError>
  /** Calls back with each notification that the server sends to it, until the result is called. */
  readonly onNotification: (listener: (notification: Pg.Notification) => void) => () => void
}

/**
 * Is called when a statement is sent, and what it returns when that has ended, with the error if it failed.
 *
 * @category models
 * @since 0.1.0
 */
export type StatementTimer = () => (error?: unknown) => void

/**
 * Opens a connection, interruptibly; the scope closes it. A timer is told of each statement of its borrowers.
 *
 * @category constructors
 * @since 0.1.0
 */
export const open: (
  config: PgPoolConfig,
  timer?: StatementTimer
) => Effect.Effect<PgConnection, SqlError, Scope.Scope> = internal.open

/**
 * A client of the driver that is not connected yet, to see what the options come to. Options that can't be read fail.
 *
 * @category constructors
 * @since 0.1.0
 */
export const makeClient: (config: PgPoolConfig, password?: Redacted.Redacted) => Effect.Effect<Pg.Client, SqlError> =
  internal.makeClient

/**
 * Whether a driver's error says that the connection was lost or could not be made: it has no SQLSTATE then.
 *
 * @category predicates
 * @since 0.1.0
 */
export const isLost = (cause: unknown): boolean =>
  cause instanceof Error && SqlState.of(cause) === undefined && Driver.isConnectionError(cause)
