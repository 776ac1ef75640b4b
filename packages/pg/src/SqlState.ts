/**
 * What a failure of Postgres means for whoever met it: one pure table over SQLSTATE codes.
 *
 * It decides nothing about retries by itself; it says what kind of failure this is, and the pool, the client and users
 * act on that. Codes: PostgreSQL documentation, appendix A.
 *
 * @since 0.1.0
 */
import * as Predicate from "effect/Predicate"

/**
 * - `user`: the statement is at fault; the connection is fine and trying again is of no use
 * - `retryable`: the same work can succeed if it is done again (serialization failure, deadlock, lock not available)
 * - `evict`: the session is gone or unusable; a new connection is needed
 * - `failover`: the server is no longer what it was (read only, in recovery); no connection to it should be used again
 * - `saturated`: the server has no connection to spare at present
 * - `refused`: the server refuses to let this client in, and time alone won't change that
 *
 * @category models
 * @since 0.1.0
 */
export type Kind = "user" | "retryable" | "evict" | "failover" | "saturated" | "refused"

/**
 * Classes 58 (system error) and XX (internal error) are not in it: their sessions live on, and extensions raise XX000 for
 * whatever they don't like about their arguments. A session that does end with one loses its socket, too.
 */
const codes: Record<string, Kind> = {
  // Class 25, invalid transaction state: a writer that suddenly is read only talks to a former primary.
  "25006": "failover",
  // A session cut for idling in a transaction, or for idling.
  "25P03": "evict",
  "25P04": "evict",
  // Class 40, transaction rollback.
  "40001": "retryable",
  "40P01": "retryable",
  // Class 53, insufficient resources.
  "53300": "saturated",
  // Class 55.
  "55P03": "retryable",
  // Class 57, operator intervention. 57014 is a cancelled statement: the session lives on.
  "57P01": "evict",
  "57P02": "evict",
  "57P03": "evict",
  "57P04": "evict",
  "57P05": "evict",
  // The database does not exist.
  "3D000": "refused"
}

const classes: Record<string, Kind> = {
  // Connection exception, protocol violation included.
  "08": "evict",
  // Invalid authorization specification.
  "28": "refused"
}

/**
 * The kind of a five-character SQLSTATE.
 *
 * @category getters
 * @since 0.1.0
 */
export const kindOf = (sqlState: string): Kind => codes[sqlState] ?? classes[sqlState.slice(0, 2)] ?? "user"

/**
 * The SQLSTATE that an error carries, itself or through its chain of `cause`s, or `undefined`: an error of the network
 * or of the driver has none.
 *
 * @category getters
 * @since 0.1.0
 */
export const of = (error: unknown): string | undefined => {
  const seen = new Set<unknown>()
  for (let current = error; current !== undefined && !seen.has(current); ) {
    seen.add(current)
    if (Predicate.hasProperty(current, "code") && typeof current.code === "string" && isSqlState(current.code)) {
      return current.code
    }
    current = Predicate.hasProperty(current, "cause") ? current.cause : undefined
  }
  return undefined
}

/**
 * Whether a connection is of no use any more after the server answered with this error: its session is gone or
 * unusable. Errors without a SQLSTATE did not come from the server; the connection itself knows what they did to it.
 *
 * @category predicates
 * @since 0.1.0
 */
export const evicts = (sqlState: string): boolean => {
  const kind = kindOf(sqlState)
  return kind === "evict" || kind === "failover"
}

// Five of digits and capital letters, and not one of the system's names for network failures (EPIPE).
const isSqlState = (code: string): boolean => /^[0-9A-Z]{5}$/.test(code) && !/^E[A-Z]{4}$/.test(code)
