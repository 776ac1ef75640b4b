/**
 * What goes wrong beyond errors of the server, of the driver and of the pool. Each is the `cause` of a `SqlError`.
 *
 * @since 0.1.0
 */
import * as Data from "effect/Data"

/**
 * COMMIT was answered with this command instead: `ROLLBACK`. A statement of the transaction had failed, and its error
 * was caught without a savepoint (a nested `withTransaction`) to return to.
 *
 * @category errors
 * @since 0.1.0
 */
export class TransactionRolledBack extends Data.TaggedError("TransactionRolledBack")<{
  readonly command: string
}> {
  override get message(): string {
    return (
      `COMMIT was answered with ${this.command}: a statement in the transaction had failed, so nothing was written. ` +
      "Let its error fail the transaction, or run what may fail in a withTransaction of its own."
    )
  }
}

/**
 * A statement took longer than its command timeout and was cancelled by the client: where the server enforces the
 * timeout, its own error comes instead. Both carry the SQLSTATE 57014.
 *
 * @category errors
 * @since 0.1.0
 */
export class CommandTimeout extends Data.TaggedError("CommandTimeout")<{
  /** In ms. */
  readonly timeout: number
}> {
  readonly code = "57014"

  override get message(): string {
    return (
      `The statement was cancelled after its command timeout of ${this.timeout} ms. ` +
      "If it needs longer, run it with PgPool.withCommandTimeout."
    )
  }
}

/**
 * LISTEN was asked of a pool that says `pooler: "transaction"`: there is no session that could go on listening.
 *
 * @category errors
 * @since 0.1.0
 */
export class SessionRequired extends Data.TaggedError("SessionRequired")<{
  readonly pool: string
  readonly operation: "LISTEN"
}> {
  override get message(): string {
    return (
      `Pool "${this.pool}": ${this.operation} does not work behind a transaction pooler, which gives each transaction ` +
      "another session. Make another pool for it that connects to the server itself (PgPool.layerTagged)."
    )
  }
}

/**
 * A new connection was refused because its server is a standby or read only, where `targetSessionAttrs` is `read-write`.
 *
 * @category errors
 * @since 0.1.0
 */
export class ReadOnlyServer extends Data.TaggedError("ReadOnlyServer")<{
  readonly host: string
  readonly port: number
}> {
  override get message(): string {
    return (
      `The server at ${this.host}:${this.port} is a standby or read only, and the pool wants one that can write. ` +
      "After a failover the pool goes on trying; otherwise see to the address, or leave out targetSessionAttrs."
    )
  }
}
