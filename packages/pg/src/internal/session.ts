/**
 * What one connection knows of its session: the driver's client, whose turn it is, what may be left behind for the next
 * borrower, and whether it is of any use at all. What is done with it is in `query`, `cursor`, `cancel`, `reset`, `close`.
 */
import { SqlError } from "@effect/sql/SqlError"
import type * as Pg from "pg"
import type { StatementTimer } from "../PgConnection.ts"
import { CommandTimeout as CommandTimeoutError } from "../PgError.ts"
import type { PgPoolConfig } from "../PgPoolConfig.ts"
import { defaults } from "../PgPoolConfig.ts"
import * as SqlState from "../SqlState.ts"
import * as CommandTimeout from "./commandTimeout.ts"
import * as Driver from "./driver.ts"
import { StatementCache } from "./statementCache.ts"
import type { Traits } from "./traits.ts"
import { Turn } from "./turn.ts"

/** @internal */
export class Session {
  readonly pg: Pg.Client
  readonly config: PgPoolConfig
  readonly timer: StatementTimer | undefined
  readonly turn = new Turn()
  readonly cache: StatementCache
  /** Statements run so far. */
  statements = 0
  /** Why it is of no use any more, once it is. */
  broken: unknown = undefined
  /** It may hold something that the next borrower must not find. */
  touched = false
  /** A check is under way: whoever gives up on it has waited in vain. */
  pinging = false
  /** The pool's limit for a statement, in ms. */
  readonly limit: number
  /** What the server enforces at present; `undefined`: not known. */
  enforced: number | undefined
  /** Since the session was last clean, the server was told of another limit. */
  altered = false
  /** Channels that it listens to for the pool: they stay when the rest is reset. */
  readonly channels = new Set<string>()
  /** The transaction, or the session, was asked to be read only. */
  private readOnly = false
  private readonly listeners: Array<(cause: unknown) => void> = []

  constructor(pg: Pg.Client, config: PgPoolConfig, timer: StatementTimer | undefined) {
    this.pg = pg
    this.config = config
    this.timer = timer
    this.limit = CommandTimeout.limitOf(config)
    this.enforced = this.limit
    const cached = config.pooler === undefined ? (config.statementCacheSize ?? defaults.statementCacheSize) : 0
    this.cache = new StatementCache(cached)
    // Without a listener, a socket that breaks while idle ends the process.
    pg.on("error", (cause) => this.break(cause))
    pg.on("end", () => this.break(new Error("The connection was closed")))
  }

  get inTransaction(): boolean {
    return this.pg.getTransactionStatus() !== "I"
  }

  get dirty(): boolean {
    return this.touched || this.altered || !this.turn.free || this.inTransaction
  }

  begin({ dirties, readOnly }: Traits): void {
    this.statements++
    if (!this.touched && !this.inTransaction) this.readOnly = false
    if (readOnly) this.readOnly = true
    if (dirties) this.touched = true
  }

  onBroken(listener: (cause: unknown) => void): void {
    if (this.broken === undefined) this.listeners.push(listener)
    else listener(this.broken)
  }

  /** From here on it ends because it is closed, and not because it breaks. */
  leave(): void {
    this.listeners.length = 0
  }

  break(cause: unknown): void {
    if (this.broken !== undefined) return
    this.broken = cause
    for (const listener of this.listeners) listener(cause)
    this.listeners.length = 0
  }

  cut(cause: unknown): void {
    this.break(cause)
    Driver.cut(this.pg)
  }

  /** What becomes of a statement on a connection that is broken: it is not sent. */
  gone(): SqlError {
    return new SqlError({
      cause: new Error("Connection terminated: it broke before", { cause: this.broken }),
      message: "Failed to execute statement"
    })
  }

  /**
   * What becomes of a statement that got no answer for so long. Without a pooler the server should have said so itself
   * by now, so that it is stuck or gone.
   */
  tooLate(timeout: number): SqlError {
    const message = "Failed to execute statement"
    if (this.config.pooler !== undefined) return new SqlError({ cause: new CommandTimeoutError({ timeout }), message })
    const cause = new Error(`Connection terminated: no answer within the command timeout of ${timeout} ms`)
    this.break(cause)
    return new SqlError({ cause, message })
  }

  /** An error is told once the session is quiet again, so that nothing else runs before its ReadyForQuery. */
  fail(cause: Error, tell: (error: SqlError) => void): void {
    const sqlState = SqlState.of(cause)
    if (sqlState !== undefined && this.isLost(sqlState)) this.break(cause)
    const error = new SqlError({ cause, message: "Failed to execute statement" })
    if (this.broken !== undefined || sqlState === undefined || Driver.isReady(this.pg)) tell(error)
    else Driver.whenQuiet(this.pg, () => tell(error))
  }

  /** A write where the user asked for a transaction that only reads does not tell of a failover. */
  private isLost(sqlState: string): boolean {
    return SqlState.evicts(sqlState) && !(this.readOnly && SqlState.kindOf(sqlState) === "failover")
  }

  forgetPrepared(): void {
    this.cache.clear()
    Driver.forgetStatements(this.pg)
  }
}
