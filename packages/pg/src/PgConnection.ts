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
import { SqlError } from "@effect/sql/SqlError"
import * as Chunk from "effect/Chunk"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { identity } from "effect/Function"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Pg from "pg"
import Cursor from "pg-cursor"
import * as Driver from "./internal/driver.ts"
import { resetText, type Traits, traitsOf } from "./internal/session.ts"
import { StatementCache } from "./internal/statementCache.ts"
import { Turn } from "./internal/turn.ts"
import type { PgPoolConfig } from "./PgPoolConfig.ts"
import { defaults, toClientConfig } from "./PgPoolConfig.ts"
import * as SqlState from "./SqlState.ts"

type TransformRows = (<A extends object>(row: ReadonlyArray<A>) => ReadonlyArray<A>) | undefined

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
}

/**
 * Opens a connection, interruptibly; the scope closes it.
 *
 * @category constructors
 * @since 0.1.0
 */
export const open = (config: PgPoolConfig): Effect.Effect<PgConnection, SqlError, Scope.Scope> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.gen(function* () {
      const client = yield* makeClient(config, yield* restore(askPassword(config.password)))
      const connection = new Impl(client, config)
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

/** How long a cancelled statement or a closed cursor may take to end before its connection is cut. */
const cancelTimeout = Duration.seconds(5)

/** How long a good-bye may take before the connection is cut: within the pool's own limit for closing. */
const closeTimeout = Duration.seconds(2)

class Impl implements PgConnection {
  statements = 0
  broken: unknown = undefined
  private touched = false
  private pinging = false
  private readonly pg: Pg.Client
  private readonly turn = new Turn()
  private readonly cache: StatementCache
  private readonly config: PgPoolConfig
  private readonly listeners: Array<(cause: unknown) => void> = []

  constructor(client: Pg.Client, config: PgPoolConfig) {
    this.pg = client
    this.config = config
    const cached = config.pooler === undefined ? (config.statementCacheSize ?? defaults.statementCacheSize) : 0
    this.cache = new StatementCache(cached)
    // Without a listener, a socket that breaks while idle ends the process.
    client.on("error", (cause) => this.break(cause))
    client.on("end", () => this.break(new Error("The connection was closed")))
  }

  get client() {
    this.touched = true
    return this.pg
  }

  get processId() {
    return Driver.processId(this.pg)
  }

  get prepared() {
    return this.cache.size
  }

  get dirty() {
    return this.touched || !this.turn.free || this.inTransaction
  }

  private get inTransaction() {
    return this.pg.getTransactionStatus() !== "I"
  }

  /** Whoever gives up on it has waited in vain: there is nobody to send a cancel or a good-bye to. */
  readonly ping: Effect.Effect<void, SqlError> = Effect.suspend(() => {
    this.pinging = true
    return Effect.map(
      this.run({ text: "SELECT 1" }, identity, () =>
        Effect.sync(() => this.cut(new Error("The server did not answer in time")))
      ),
      () => {
        this.pinging = false
      }
    )
  })

  readonly reset: Effect.Effect<void, SqlError> = Effect.suspend(() =>
    Effect.zipRight(
      this.quiet,
      Effect.suspend(() => {
        if (!this.touched && !this.inTransaction) return Effect.void
        // Begun on the driver's client, a COPY say: only its borrower could end it.
        if (Driver.isBusy(this.pg)) return Effect.fail(new SqlError({ cause: new Error("A query is under way") }))
        // Behind a pooler the session is another one by now, and the pooler's to reset.
        const text = this.config.pooler === undefined ? resetText(this.inTransaction) : "ROLLBACK"
        return Effect.zipRight(
          this.run({ text }, identity),
          Effect.suspend(() => {
            this.forgetPrepared()
            return this.settleIn
          })
        )
      })
    )
  )

  /** What every borrower is to find. */
  readonly settleIn: Effect.Effect<void, SqlError> = Effect.suspend(() =>
    Effect.map(this.config.onConnect?.(this) ?? Effect.void, () => {
      this.touched = false
    })
  )

  /** Until the server has ended its side too, whatever it was doing: only then may another one take the place. */
  readonly close: Effect.Effect<void> = Effect.suspend(() => {
    if (this.pinging) Driver.cut(this.pg)
    const cancelled =
      Driver.isOpen(this.pg) && Driver.isBusy(this.pg) ? Driver.cancel(this.pg, this.config.stream) : Effect.void
    return Effect.zipRight(cancelled, Driver.end(this.pg)).pipe(
      Effect.interruptible,
      Effect.timeoutTo({
        duration: closeTimeout,
        onSuccess: () => undefined,
        onTimeout: () => Driver.cut(this.pg)
      })
    )
  })

  onBroken(listener: (cause: unknown) => void): void {
    if (this.broken === undefined) this.listeners.push(listener)
    else listener(this.broken)
  }

  execute(sql: string, params: ReadonlyArray<unknown>, transformRows: TransformRows) {
    return this.run({ text: sql, values: params, prepare: true }, (result) => rowsOf(result, transformRows))
  }

  executeRaw(sql: string, params: ReadonlyArray<unknown>) {
    return this.run({ text: sql, values: params, prepare: true }, identity)
  }

  executeValues(
    sql: string,
    params: ReadonlyArray<unknown>
  ): Effect.Effect<ReadonlyArray<ReadonlyArray<unknown>>, SqlError> {
    return this.run({ text: sql, values: params, rowMode: "array", prepare: true }, ({ rows }) => rows)
  }

  executeUnprepared(sql: string, params: ReadonlyArray<unknown>, transformRows: TransformRows) {
    return this.run({ text: sql, values: params }, (result) => rowsOf(result, transformRows))
  }

  executeCommand(command: string) {
    return this.run({ text: command }, (result) => result.command)
  }

  executeStream(sql: string, params: ReadonlyArray<unknown>, transformRows: TransformRows) {
    return Stream.unwrapScoped(
      Effect.map(
        Effect.acquireRelease(this.openCursor(sql, params), (open) => this.closeCursor(open)),
        (open) => Stream.repeatEffectChunkOption(this.read(open, transformRows))
      )
    )
  }

  // ---------------------------------------------------------------------------------------------------------------
  // Statements
  // ---------------------------------------------------------------------------------------------------------------

  private run<A>(
    statement: Statement,
    pick: (result: Pg.QueryResult) => A,
    abandon = (answered: Effect.Effect<void>) => Effect.asVoid(Effect.forkDaemon(this.cancel(answered)))
  ): Effect.Effect<A, SqlError> {
    // Each statement goes this way: a canceler in `Effect.async` would take more steps.
    return Effect.uninterruptibleMask((restore) => {
      let state: "waiting" | "sent" | "answered" = "waiting"
      let resume: (answer: Effect.Effect<A, SqlError>) => void
      let onQuiet: (() => void) | undefined
      const answer = (result: Effect.Effect<A, SqlError>) => {
        state = "answered"
        if (onQuiet !== undefined) return onQuiet()
        this.turn.pass()
        resume(result)
      }
      const send = (name: string | undefined) =>
        Driver.query(this.pg, statement, name, (cause, result) => {
          if (!cause) return answer(attempt(pick, result))
          this.fail(cause, (error) => {
            if (name === undefined || onQuiet !== undefined || !isStale(error)) return answer(Effect.fail(error))
            // The server has dropped it (26000) or changed what it gives (0A000): nothing was run. Within a transaction
            // it is too late for a second try, the server has failed the transaction.
            this.forgetPrepared()
            if (this.inTransaction || this.broken !== undefined) answer(Effect.fail(error))
            else send(undefined)
          })
        })
      const start = () => {
        if (this.broken !== undefined) return answer(Effect.fail(this.gone()))
        state = "sent"
        const traits = traitsOf(statement.text)
        this.begin(traits)
        send(statement.prepare === true && traits.preparable ? this.prepare(statement.text) : undefined)
      }
      const answered = Effect.async<A, SqlError>((resume_) => {
        resume = resume_
        this.turn.enter(start)
      })
      return Effect.catchAllCause(restore(answered), (cause) => {
        if (state === "waiting") this.turn.leave(start)
        if (state !== "sent") return Effect.failCause(cause)
        const quiet = Effect.async<void>((resume) => {
          onQuiet = () => resume(Effect.void)
        })
        return Effect.zipRight(abandon(quiet), Effect.failCause(cause))
      })
    })
  }

  /** The turn passes on when the statement has ended and the cancel can't hit another one any more. */
  private cancel(answered: Effect.Effect<void>): Effect.Effect<void> {
    return Effect.all([answered, Driver.cancel(this.pg, this.config.stream)], {
      concurrency: 2,
      discard: true
    }).pipe(
      // Begun in an interrupt, which is not interruptible itself: no timeout would end it.
      Effect.interruptible,
      Effect.timeoutTo({
        duration: cancelTimeout,
        onSuccess: () => undefined,
        onTimeout: () => this.cut(new Error("A statement was interrupted, and cancelling it took too long"))
      }),
      Effect.zipRight(Effect.sync(() => this.turn.pass()))
    )
  }

  private readonly quiet: Effect.Effect<void> = Effect.async<void>((resume) => {
    const start = () => {
      this.turn.pass()
      resume(Effect.void)
    }
    this.turn.enter(start)
    return Effect.sync(() => this.turn.leave(start))
  })

  private begin({ dirties }: Traits): void {
    this.statements++
    if (dirties) this.touched = true
  }

  /** The name under which a text is prepared. */
  private prepare(text: string): string | undefined {
    const name = this.cache.nameOf(text)
    const excess = this.cache.takeExcess()
    if (excess.length > 0) Driver.closeStatements(this.pg, excess)
    return name
  }

  /** An error is told once the session is quiet again, so that nothing else runs before its ReadyForQuery. */
  private fail(cause: Error, tell: (error: SqlError) => void): void {
    const sqlState = SqlState.of(cause)
    if (sqlState === undefined ? Driver.isQueryTimeout(cause) : SqlState.evicts(sqlState)) this.break(cause)
    const error = new SqlError({ cause, message: "Failed to execute statement" })
    if (this.broken !== undefined || sqlState === undefined) tell(error)
    else Driver.whenQuiet(this.pg, () => tell(error))
  }

  private forgetPrepared(): void {
    this.cache.clear()
    Driver.forgetStatements(this.pg)
  }

  /** What becomes of a statement on a connection that is broken: it is not sent. */
  private gone(): SqlError {
    return new SqlError({
      cause: new Error("Connection terminated: it broke before", { cause: this.broken }),
      message: "Failed to execute statement"
    })
  }

  private cut(cause: unknown): void {
    this.break(cause)
    Driver.cut(this.pg)
  }

  private break(cause: unknown): void {
    if (this.broken !== undefined) return
    this.broken = cause
    for (const listener of this.listeners) listener(cause)
    this.listeners.length = 0
  }

  // ---------------------------------------------------------------------------------------------------------------
  // Cursors
  // ---------------------------------------------------------------------------------------------------------------

  /** A cursor has the connection for itself until it is closed. */
  private openCursor(sql: string, params: ReadonlyArray<unknown>): Effect.Effect<OpenCursor, SqlError> {
    return Effect.async<OpenCursor, SqlError>((resume) => {
      const start = () => {
        if (this.broken !== undefined) {
          this.turn.pass()
          return resume(Effect.fail(this.gone()))
        }
        this.begin(traitsOf(sql))
        const cursor = this.pg.query(new Cursor(sql, params as Array<unknown>))
        resume(Effect.succeed({ cursor, state: "open" }))
      }
      this.turn.enter(start)
    })
  }

  private read(open: OpenCursor, transformRows: TransformRows) {
    return Effect.async<Chunk.Chunk<object>, Option.Option<SqlError>>((resume) => {
      open.state = "reading"
      open.cursor.read(128, (error, rows) => {
        open.state = "open"
        if (error) this.fail(error, (sqlError) => resume(Effect.fail(Option.some(sqlError))))
        else if (rows.length === 0) resume(Effect.fail(Option.none()))
        else resume(Effect.succeed(Chunk.unsafeFromArray(transformRows === undefined ? rows : transformRows(rows))))
      })
    })
  }

  private closeCursor(open: OpenCursor): Effect.Effect<void> {
    return Effect.suspend(() => {
      Driver.endTimer(open.cursor)
      if (open.state === "reading") {
        // The driver can't end a cursor that waits for rows without confusing the answers to come.
        this.break(new Error("A stream was interrupted while it waited for rows"))
      }
      // It may have ended by itself, also badly and unnoticed: between two reads.
      if (this.broken !== undefined || !Driver.isBusy(this.pg)) return Effect.void
      return Effect.async<void>((resume) => {
        Driver.closeCursor(this.pg, open.cursor, () => resume(Effect.void))
      }).pipe(
        Effect.interruptible,
        Effect.timeoutTo({
          duration: cancelTimeout,
          onSuccess: () => undefined,
          onTimeout: () => this.cut(new Error("A stream was left, and closing its cursor took too long"))
        })
      )
    }).pipe(Effect.zipRight(Effect.sync(() => this.turn.pass())))
  }
}

interface Statement extends Driver.Statement {
  /** Whether it is worth a prepared statement, if its text allows for one. */
  readonly prepare?: boolean | undefined
}

interface OpenCursor {
  readonly cursor: Cursor
  state: "open" | "reading"
}

/** What throws here would throw into the driver. */
const attempt = <A>(pick: (result: Pg.QueryResult) => A, result: Pg.QueryResult): Effect.Effect<A> => {
  try {
    return Effect.succeed(pick(result))
  } catch (defect) {
    return Effect.die(defect)
  }
}

/** Several statements in one text give several results. */
const rowsOf = (
  result: Pg.QueryResult,
  transformRows: TransformRows
): ReadonlyArray<Pg.QueryResult["rows"][number]> => {
  if (Array.isArray(result)) return result.map((one: Pg.QueryResult) => one.rows)
  return transformRows === undefined ? result.rows : transformRows(result.rows)
}

const isStale = (error: SqlError): boolean => {
  const sqlState = SqlState.of(error)
  return sqlState === "26000" || (sqlState === "0A000" && /cached plan/.test(String(error.cause)))
}
