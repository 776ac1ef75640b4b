/**
 * A pool of Postgres connections that is a drop-in for the layer of `@effect/sql-pg`: it provides `PgPool`, `PgClient`
 * and `SqlClient` from one acquisition.
 *
 * Waits are bounded and first come first served, failures are typed, broken connections are never lent, and the next
 * borrower finds a clean session. It does not retry statements, and does not route between servers.
 *
 * @since 0.1.0
 */
import * as Pool from "@checkpool/pool/Pool"
import type { PoolError } from "@checkpool/pool/PoolError"
import { findPoolError } from "@checkpool/pool/PoolError"
import * as Recycler from "@checkpool/pool/Recycler"
import * as Reactivity from "@effect/experimental/Reactivity"
import { SqlClient } from "@effect/sql/SqlClient"
import { SqlError } from "@effect/sql/SqlError"
import { PgClient } from "@effect/sql-pg/PgClient"
import * as Config from "effect/Config"
import type * as ConfigError from "effect/ConfigError"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import * as Client from "./internal/client.ts"
import * as PgConnection from "./PgConnection.ts"
import type { PgPoolConfig } from "./PgPoolConfig.ts"
import { defaults } from "./PgPoolConfig.ts"
import * as PgPoolMetrics from "./PgPoolMetrics.ts"
import * as SqlState from "./SqlState.ts"

/**
 * The pool: `use`, `get`, `stats`, `events`, `expire`, `resize`, `drain` of `@checkpool/pool`.
 *
 * @category models
 * @since 0.1.0
 */
export interface Service extends Pool.Pool<PgConnection.PgConnection> {
  /** The configuration, with what the URL said filled in. */
  readonly config: PgPoolConfig
}

/**
 * @category tags
 * @since 0.1.0
 */
export class PgPool extends Context.Tag("@checkpool/pg/PgPool")<PgPool, Service>() {}

let made = 0

/**
 * Makes a pool that drains when the scope closes.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (config: PgPoolConfig): Effect.Effect<Service, SqlError, Scope.Scope> =>
  Effect.gen(function* () {
    const name = config.name ?? `pg-pool-${++made}`
    const resolved = yield* PgConnection.makeClient(config)
    const self = yield* Deferred.make<Pool.Pool<PgConnection.PgConnection>>()
    const maxUses = config.maxUses ?? defaults.maxUses
    const pool = yield* Pool.make({
      name,
      acquire: Effect.map(PgConnection.open(config), (connection) => {
        // One that breaks while it is idle goes at once, and not when somebody borrows it.
        connection.onBroken(() =>
          Effect.runFork(Effect.flatMap(Deferred.await(self), (pool) => pool.invalidate(connection)))
        )
        return connection
      }),
      min: config.minConnections ?? Math.min(defaults.minConnections, config.maxConnections ?? defaults.maxConnections),
      max: config.maxConnections ?? defaults.maxConnections,
      acquireTimeout: config.acquireTimeout,
      maxWaiting: config.maxWaiting,
      idleTimeout: config.idleTimeout,
      lifetime: config.connectionTTL,
      connectTimeout: config.connectTimeout,
      maxConnecting: config.maxConnecting,
      leakAfter: config.leakAfter,
      start: config.start,
      check: (connection) => connection.ping,
      recycler: recycler(maxUses),
      classify,
      observer: PgPoolMetrics.observe(name, config.observer)
    }).pipe(Effect.mapError(asSqlError))
    yield* Deferred.succeed(self, pool)
    return {
      ...pool,
      config: {
        ...config,
        name,
        host: resolved.host,
        port: resolved.port,
        database: resolved.database ?? config.database,
        username: resolved.user ?? config.username,
        password: typeof resolved.password === "string" ? Redacted.make(resolved.password) : config.password
      }
    }
  })

/**
 * @category layers
 * @since 0.1.0
 * @example
 * ```ts
 * import { PgPool } from "@checkpool/pg"
 * import { SqlClient } from "@effect/sql"
 * import { Effect, Redacted } from "effect"
 *
 * const PoolLive = PgPool.layer({ url: Redacted.make("postgres://localhost:5432/app") })
 *
 * const program = Effect.gen(function* () {
 *   const sql = yield* SqlClient.SqlClient
 *   return yield* sql`SELECT 1 AS one`
 * })
 *
 * export const main = program.pipe(Effect.provide(PoolLive))
 * ```
 */
export const layer = (config: PgPoolConfig): Layer.Layer<PgPool | PgClient | SqlClient, SqlError> =>
  Layer.scopedContext(makeContext(config)).pipe(Layer.provide(Reactivity.layer))

/**
 * @category layers
 * @since 0.1.0
 */
export const layerConfig = (
  config: Config.Config.Wrap<PgPoolConfig>
): Layer.Layer<PgPool | PgClient | SqlClient, ConfigError.ConfigError | SqlError> =>
  Layer.scopedContext(Effect.flatMap(Config.unwrap(config), makeContext)).pipe(Layer.provide(Reactivity.layer))

/**
 * The pool's error inside an error of `SqlClient` (or of what builds on it), if that is what went wrong.
 *
 * @category getters
 * @since 0.1.0
 */
export const poolError = (error: unknown): PoolError | undefined => findPoolError(error)

const makeContext = (config: PgPoolConfig) =>
  Effect.gen(function* () {
    const pool = yield* make(config)
    const client = yield* Client.make(pool)
    return Context.make(PgPool, pool).pipe(Context.add(PgClient, client), Context.add(SqlClient, client))
  })

const recycler = (maxUses: number): Recycler.Recycler<PgConnection.PgConnection> =>
  Recycler.combine(
    (connection) =>
      connection.broken !== undefined
        ? Recycler.close(connection.broken)
        : connection.statements >= maxUses
          ? Recycler.close(`ran ${connection.statements} statements`)
          : Recycler.keep,
    Recycler.resetWhen(
      (connection) => connection.dirty,
      (connection) => connection.reset
    )
  )

const classify = (error: SqlError) => {
  const sqlState = SqlState.of(error)
  const kind = sqlState === undefined ? undefined : SqlState.kindOf(sqlState)
  return kind === "saturated" ? "capacity" : kind === "refused" ? "fatal" : "failed"
}

const asSqlError = (error: SqlError | { readonly message: string }): SqlError =>
  error instanceof SqlError ? error : new SqlError({ cause: error, message: error.message })
