/**
 * How a `PgPool` is made: every option of `@effect/sql-pg`'s `PgClientConfig` by its name, and the pool's own.
 *
 * @since 0.1.0
 */
import type { Observer } from "@checkpool/pool/PoolOptions"
import type { SqlError } from "@effect/sql/SqlError"
import type { PgClientConfig } from "@effect/sql-pg/PgClient"
import * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type * as Redacted from "effect/Redacted"
import type { PgConnection } from "./PgConnection.ts"

/**
 * Where to connect is said by `url`, by `host`, `port`, `database`, `username`, `password`, or by the environment
 * (`PGHOST`, …) as `pg` reads it; what the URL says wins over the single options, as in `pg`.
 *
 * @category models
 * @since 0.1.0
 */
export interface PgPoolConfig extends Omit<PgClientConfig, "password"> {
  // Essentials

  /** The password, or an effect that is asked for it at each connect: tokens that expire, secrets that rotate. */
  readonly password?: Redacted.Redacted | Effect.Effect<Redacted.Redacted, unknown> | undefined
  /** Most connections that may exist at once: a ceiling. Default 100, a stock server's limit. */
  readonly maxConnections?: number | undefined
  /** Connections kept open when idle. Default 10: a burst finds them warm. */
  readonly minConnections?: number | undefined
  /** How long a caller waits for a connection at most. Default 10 s. */
  readonly acquireTimeout?: Duration.DurationInput | undefined
  /**
   * How long a statement may take, and each piece of a stream. Default 60 s: longer than what a user waits for, shorter
   * than what blocks others for good. The server enforces it (`statement_timeout`); should the server not answer at all,
   * the client gives up a second later and closes the connection. `Duration.infinity`: no limit.
   * `PgPool.withCommandTimeout` sets another one for some statements.
   */
  readonly commandTimeout?: Duration.DurationInput | undefined

  // Frequent

  /** The pool's name in metrics, events and errors. Default `pg-pool-1`, `pg-pool-2`, …: unique in the process. */
  readonly name?: string | undefined
  /** Callers that may wait; the next one gets `PoolSaturated` at once. Default 10,000. */
  readonly maxWaiting?: number | undefined
  /** Statements after which a connection is closed. Default 50,000: bounds what a server process gathers. */
  readonly maxUses?: number | undefined
  /** Connections beyond the minimum that were idle for so long are closed. Default 5 minutes. */
  readonly idleTimeout?: Duration.DurationInput | undefined
  /** Age at which a connection is closed, less up to a tenth by chance. Default 1 hour. */
  readonly connectionTTL?: Duration.DurationInput | undefined
  /** What is open before the layer is ready: `"one"` (default), `"min"`, or nothing (`"lazy"`). */
  readonly start?: "one" | "min" | "lazy" | undefined

  /**
   * Runs on each new connection before it is lent, and again after a reset: what it sets is there for every borrower.
   * Default: nothing.
   */
  readonly onConnect?: ((connection: PgConnection) => Effect.Effect<unknown, SqlError>) | undefined

  // Infrequent

  /**
   * `"dirtied"` (default): a session is reset if a statement's text says that it may have left something behind, which
   * costs nothing otherwise. `"always"`: after each lease, for functions of your own that hide such things: a round trip.
   */
  readonly reset?: "dirtied" | "always" | undefined
  /**
   * `"read-write"`: a new connection to a standby or a read-only server is refused and tried again, as after a failover
   * the address may name the wrong one for a while. Default `"any"`: replicas are of use, too.
   */
  readonly targetSessionAttrs?: "any" | "read-write" | undefined
  /**
   * `"transaction"`: there is a pooler such as PgBouncer in between that gives each transaction another session. Nothing
   * is then prepared or set in sessions, `commandTimeout` is the client's alone, and LISTEN is refused. Default: none.
   */
  readonly pooler?: "transaction" | undefined
  /**
   * Silence after which TCP asks whether the other side is still there, and gives the connection up some 10 s later.
   * Default 30 s: below what firewalls and load balancers forget a connection after, and a listener notices a loss soon.
   */
  readonly keepAlive?: Duration.DurationInput | undefined
  /** How long opening a connection may take. Default 5 s. */
  readonly connectTimeout?: Duration.DurationInput | undefined
  /** With nothing open, callers fail at once after connecting failed for so long. Default 3 s: a restart is waited out. */
  readonly unavailableAfter?: Duration.DurationInput | undefined
  /** How many connections are opened at the same time. Default 3: a restarted server is not stormed. */
  readonly maxConnecting?: number | undefined
  /** Prepared statements that each connection keeps, least recently used out first. Default 100; 0: none. */
  readonly statementCacheSize?: number | undefined
  /** A lease of this length is reported as a suspected leak. Default: never. */
  readonly leakAfter?: Duration.DurationInput | undefined
  /** Callbacks beside the metrics. Default: none. */
  readonly observer?: Observer | undefined
}

/**
 * The defaults of `PgPoolConfig`; the reasons stand there.
 *
 * @category constructors
 * @since 0.1.0
 */
export const defaults = {
  maxConnections: 100,
  minConnections: 10,
  commandTimeout: Duration.minutes(1),
  keepAlive: Duration.seconds(30),
  maxUses: 50_000,
  statementCacheSize: 100,
  applicationName: "@checkpool/pg"
} as const
