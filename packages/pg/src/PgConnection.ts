/**
 * One connection to Postgres, as it is lent by a `PgPool`: a `Connection` of `@effect/sql`, with the raw `pg` client
 * beside it.
 *
 * It runs one statement at a time. A statement that is interrupted is cancelled on the server and its connection is
 * closed: whatever was still on the wire can then hit nobody else.
 *
 * @since 0.1.0
 */
import type { Connection } from "@effect/sql/SqlConnection"
import { SqlError } from "@effect/sql/SqlError"
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Pg from "pg"
import Cursor from "pg-cursor"
import * as Driver from "./internal/driver.ts"
import { mayDirty } from "./internal/session.ts"
import type { PgPoolConfig } from "./PgPoolConfig.ts"
import { toClientConfig } from "./PgPoolConfig.ts"
import * as SqlState from "./SqlState.ts"

type TransformRows = (<A extends object>(row: ReadonlyArray<A>) => ReadonlyArray<A>) | undefined

/**
 * A connection.
 *
 * @category models
 * @since 0.1.0
 */
export interface PgConnection extends Connection {
  /** The driver's client. What is run on it directly escapes the accounting: do so inside of `reserve` only. */
  readonly client: Pg.Client
  /** The server process that serves it, as in `pg_stat_activity.pid`. */
  readonly processId: number
  /** Statements run so far. */
  readonly statements: number
  /** Why it is of no use any more, once it is. */
  readonly broken: unknown
  /** Whether the next borrower would find something of this session: a transaction, a setting, a lock, … */
  readonly dirty: boolean
  /** Brings the session back to where it was after connecting. */
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
      const client = yield* makeClient(config)
      const connection = new Impl(client)
      yield* Effect.addFinalizer(() => connection.close)
      yield* Effect.mapError(restore(Driver.connect(client)), (cause) => connectError(client, cause))
      return connection
    })
  )

/**
 * A client that is not connected yet. Reading the configuration is what can fail here: a URL that is none, say.
 *
 * @category constructors
 * @since 0.1.0
 */
export const makeClient = (config: PgPoolConfig): Effect.Effect<Pg.Client, SqlError> =>
  Effect.try({
    try: () => new Pg.Client(toClientConfig(config)),
    catch: () =>
      // Neither the URL nor the driver's error, which may quote it: there is a password in it.
      new SqlError({
        cause: new Error("The connection options can't be read"),
        message:
          "PgPool: the connection options can't be read. A URL has to look like " +
          "postgres://user:password@host:5432/database, with special characters percent-encoded"
      })
  })

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

class Impl implements PgConnection {
  readonly client: Pg.Client
  statements = 0
  broken: unknown = undefined
  private touched = false
  private readonly listeners: Array<(cause: unknown) => void> = []

  constructor(client: Pg.Client) {
    this.client = client
    // Without a listener, a socket that breaks while idle ends the process.
    client.on("error", (cause) => this.break(cause))
    client.on("end", () => this.break(new Error("The connection was closed")))
  }

  get processId() {
    return Driver.processId(this.client)
  }

  get dirty() {
    return this.touched || this.client.getTransactionStatus() !== "I"
  }

  readonly ping: Effect.Effect<void, SqlError> = Effect.suspend(() => Effect.asVoid(this.run({ text: "SELECT 1" })))

  readonly reset: Effect.Effect<void, SqlError> = Effect.suspend(() => {
    const rollback =
      this.client.getTransactionStatus() === "I" ? Effect.void : Effect.asVoid(this.run({ text: "ROLLBACK" }))
    return Effect.zipRight(
      rollback,
      Effect.map(this.run({ text: "DISCARD ALL" }), () => {
        this.touched = false
      })
    )
  })

  readonly close: Effect.Effect<void> = Effect.suspend(() => {
    if (this.broken === undefined) return Effect.interruptible(Driver.end(this.client))
    Driver.cut(this.client)
    return Effect.void
  })

  onBroken(listener: (cause: unknown) => void): void {
    if (this.broken === undefined) this.listeners.push(listener)
    else listener(this.broken)
  }

  execute(sql: string, params: ReadonlyArray<unknown>, transformRows: TransformRows) {
    return Effect.map(this.executeRaw(sql, params), (result) => {
      // Several statements in one text give several results.
      if (Array.isArray(result)) return result.map((one: Pg.QueryResult) => one.rows)
      return transformRows === undefined ? result.rows : transformRows(result.rows)
    })
  }

  executeRaw(sql: string, params: ReadonlyArray<unknown>) {
    return this.run({ text: sql, values: params as Array<unknown> })
  }

  executeValues(
    sql: string,
    params: ReadonlyArray<unknown>
  ): Effect.Effect<ReadonlyArray<ReadonlyArray<unknown>>, SqlError> {
    return Effect.map(this.run({ text: sql, values: params as Array<unknown>, rowMode: "array" }), ({ rows }) => rows)
  }

  executeUnprepared(sql: string, params: ReadonlyArray<unknown>, transformRows: TransformRows) {
    return this.execute(sql, params, transformRows)
  }

  executeStream(sql: string, params: ReadonlyArray<unknown>, transformRows: TransformRows) {
    return Stream.unwrapScoped(
      Effect.map(
        Effect.acquireRelease(
          Effect.sync(() => {
            this.begin(sql)
            return { cursor: this.client.query(new Cursor(sql, params as Array<unknown>)), reading: false }
          }),
          (open) => this.closeCursor(open)
        ),
        (open) => Stream.repeatEffectChunkOption(this.read(open, transformRows))
      )
    )
  }

  private read(open: OpenCursor, transformRows: TransformRows) {
    return Effect.async<Chunk.Chunk<object>, Option.Option<SqlError>>((resume) => {
      open.reading = true
      open.cursor.read(128, (error, rows) => {
        open.reading = false
        if (error) this.fail(error, (sqlError) => resume(Effect.fail(Option.some(sqlError))))
        else if (rows.length === 0) resume(Effect.fail(Option.none()))
        else resume(Effect.succeed(Chunk.unsafeFromArray(transformRows === undefined ? rows : transformRows(rows))))
      })
    })
  }

  private closeCursor(open: OpenCursor): Effect.Effect<void> {
    if (open.reading) return Effect.sync(() => this.abort())
    return Effect.async<void>((resume) => {
      open.cursor.close(() => resume(Effect.void))
    })
  }

  private run(query: Pg.QueryConfig | Pg.QueryArrayConfig): Effect.Effect<Pg.QueryResult, SqlError> {
    return Effect.async<Pg.QueryResult, SqlError>((resume) => {
      this.begin(query.text)
      this.client.query(query as Pg.QueryConfig, (error: Error | null, result) => {
        if (error) this.fail(error, (sqlError) => resume(Effect.fail(sqlError)))
        else resume(Effect.succeed(result))
      })
      return Effect.sync(() => this.abort())
    })
  }

  private begin(text: string): void {
    this.statements++
    if (!this.touched && mayDirty(text)) this.touched = true
  }

  /** An error is told once the session is quiet again, so that nobody borrows it before its ReadyForQuery. */
  private fail(cause: Error, tell: (error: SqlError) => void): void {
    const sqlState = SqlState.of(cause)
    if (sqlState === undefined ? Driver.isQueryTimeout(cause) : SqlState.evicts(sqlState)) {
      this.break(cause)
      Driver.cut(this.client)
    }
    const error = new SqlError({ cause, message: "Failed to execute statement" })
    if (this.broken !== undefined || sqlState === undefined) tell(error)
    else Driver.whenQuiet(this.client, () => tell(error))
  }

  private abort(): void {
    this.break(new Error("A statement was interrupted"))
    Driver.cancel(this.client)
    Driver.cut(this.client)
  }

  private break(cause: unknown): void {
    if (this.broken !== undefined) return
    this.broken = cause
    for (const listener of this.listeners) listener(cause)
    this.listeners.length = 0
  }
}

interface OpenCursor {
  readonly cursor: Cursor
  reading: boolean
}
