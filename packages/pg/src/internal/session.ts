/**
 * What one connection knows of its session: the driver's client, whose turn it is, what may be left behind for the next
 * borrower, and whether it is of any use at all. What is done with it is in `query`, `cursor`, `cancel`, `reset`, `close`.
 */
import { SqlError } from "@effect/sql/SqlError"
import type * as Pg from "pg"
import type { StatementTimer } from "../PgConnection.ts"
import type { PgPoolConfig } from "../PgPoolConfig.ts"
import { defaults } from "../PgPoolConfig.ts"
import * as SqlState from "../SqlState.ts"
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
  private readonly listeners: Array<(cause: unknown) => void> = []

  constructor(pg: Pg.Client, config: PgPoolConfig, timer: StatementTimer | undefined) {
    this.pg = pg
    this.config = config
    this.timer = timer
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
    return this.touched || !this.turn.free || this.inTransaction
  }

  begin({ dirties }: Traits): void {
    this.statements++
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

  /** An error is told once the session is quiet again, so that nothing else runs before its ReadyForQuery. */
  fail(cause: Error, tell: (error: SqlError) => void): void {
    const sqlState = SqlState.of(cause)
    if (sqlState === undefined ? Driver.isQueryTimeout(cause) : SqlState.evicts(sqlState)) this.break(cause)
    const error = new SqlError({ cause, message: "Failed to execute statement" })
    if (this.broken !== undefined || sqlState === undefined || Driver.isReady(this.pg)) tell(error)
    else Driver.whenQuiet(this.pg, () => tell(error))
  }

  forgetPrepared(): void {
    this.cache.clear()
    Driver.forgetStatements(this.pg)
  }
}
