/**
 * The server's answer to a COMMIT of a transaction that it had given up.
 *
 * @since 0.1.0
 */
import * as Data from "effect/Data"

/**
 * COMMIT was answered with this command instead: `ROLLBACK`. A statement of the transaction had failed, and its error
 * was caught without a savepoint (a nested `withTransaction`) to return to. It is the `cause` of a `SqlError`.
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
