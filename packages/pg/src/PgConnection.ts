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
import type { Connection as SqlConnection } from "@effect/sql/SqlConnection"
import { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import * as Pg from "pg"
import { Connection } from "./internal/connection.ts"
import * as Driver from "./internal/driver.ts"
import { Session } from "./internal/session.ts"
import type { PgPoolConfig } from "./PgPoolConfig.ts"
import { toClientConfig } from "./PgPoolConfig.ts"
import * as SqlState from "./SqlState.ts"

/**
 * A connection.
 *
 * @category models
 * @since 0.1.0
 */
export interface PgConnection extends SqlConnection {
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
}

/**
 * Is called when a statement is sent, and what it returns when that has ended, with the error if it failed.
 *
 * @category models
 * @since 0.1.0
 */
export type StatementTimer = () => (error?: unknown) => void

/**
 * Opens a connection, interruptibly; the scope closes it. A timer is told of each
 * statement of its borrowers.
 *
 * @category constructors
 * @since 0.1.0
 */
export const open = (
  config: PgPoolConfig,
  timer?: StatementTimer
): Effect.Effect<PgConnection, SqlError, Scope.Scope> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.gen(function* () {
      const client = yield* makeClient(config, yield* restore(askPassword(config.password)))
      const connection = new Connection(new Session(client, config, timer))
      yield* Effect.addFinalizer(() => connection.close)
      yield* Effect.mapError(restore(Driver.connect(client)), (cause) => connectError(client, cause))
      yield* restore(connection.settleIn)
      return connection
    })
  )

/**
 * A client that is not connected yet. Reading the configuration is what can fail here: a URL that is none, say.
 *
 * @category constructors
 * @since 0.1.0
 */
export const makeClient = (config: PgPoolConfig, password?: Redacted.Redacted): Effect.Effect<Pg.Client, SqlError> =>
  Effect.try({
    try: () => {
      const client = new Pg.Client(toClientConfig(config))
      // Set here, since in `pg` a URL wins also with the password that it does not have.
      if (password !== undefined && !hasPassword(config.url)) client.password = Redacted.value(password)
      return client
    },
    catch: () =>
      // Neither the URL nor the driver's error, which may quote it: there is a password in it.
      new SqlError({
        cause: new Error("The connection options can't be read"),
        message:
          "PgPool: the connection options can't be read. A URL has to look like " +
          "postgres://user:password@host:5432/database, with special characters percent-encoded"
      })
  })

const hasPassword = (url: Redacted.Redacted | undefined): boolean =>
  url !== undefined && /^\w+:\/\/[^/?#@]*:[^/?#@]+@|[?&]password=/.test(Redacted.value(url))

const askPassword = (password: PgPoolConfig["password"]): Effect.Effect<Redacted.Redacted | undefined, SqlError> =>
  Effect.isEffect(password)
    ? Effect.mapError(
        password,
        (cause) => new SqlError({ cause, message: "PgPool: asking for the password of a new connection failed" })
      )
    : Effect.succeed(password)

/**
 * Whether a driver's error says that the connection was lost or could not be made: it has no SQLSTATE then.
 *
 * @category predicates
 * @since 0.1.0
 */
export const isLost = (cause: unknown): boolean =>
  cause instanceof Error && SqlState.of(cause) === undefined && Driver.isConnectionError(cause)

const connectError = (client: Pg.Client, cause: Error): SqlError => {
  const sqlState = SqlState.of(cause)
  const why = cause.message === "" && "code" in cause ? String(cause.code) : cause.message
  return new SqlError({
    cause,
    message:
      `PgPool: failed to connect to ${client.host}:${client.port}, database "${client.database}", ` +
      `as user "${client.user}": ${why}${sqlState === undefined ? "" : ` (SQLSTATE ${sqlState})`}`
  })
}
