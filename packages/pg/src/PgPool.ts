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
import { ConnectTimeout, findPoolError, type PoolError } from "@checkpool/pool/PoolError"
import * as Recycler from "@checkpool/pool/Recycler"
import * as Reactivity from "@effect/experimental/Reactivity"
import { SqlClient } from "@effect/sql/SqlClient"
import { SqlError } from "@effect/sql/SqlError"
import { PgClient } from "@effect/sql-pg/PgClient"
import * as Config from "effect/Config"
import type * as ConfigError from "effect/ConfigError"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import { dual } from "effect/Function"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Client from "./internal/client.ts"
import * as CommandTimeout from "./internal/commandTimeout.ts"
import * as Listen from "./internal/listen.ts"
import * as Observing from "./internal/observing.ts"
import * as PgConnection from "./PgConnection.ts"
import { SessionRequired } from "./PgError.ts"
import type { PgNotification } from "./PgNotification.ts"
import type { PgPoolConfig } from "./PgPoolConfig.ts"
import { defaults } from "./PgPoolConfig.ts"
import * as SqlState from "./SqlState.ts"

/**
 * The pool: `use`, `get`, `stats`, `events`, `expire`, `resize`, `drain` of `@checkpool/pool`.
 *
 * @category models
 * @since 0.1.0
 */
export interface Service extends Pool.Pool<PgConnection.PgConnection> {
  /** sql-pg's client over this pool; it is a `SqlClient` too. */
  readonly client: PgClient
  /**
   * Listens to a channel on one of the pool's connections, which all listeners share. Goes on when that connection
   * breaks, and says so; `client.listen` gives the payloads alone.
   */
  readonly listen: (channel: string) => Stream.Stream<PgNotification, SqlError>
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
export const make = (config: PgPoolConfig): Effect.Effect<Service, SqlError, Scope.Scope | Reactivity.Reactivity> =>
  Effect.gen(function* () {
    const name = config.name ?? `pg-pool-${++made}`
    const password = Effect.isEffect(config.password) ? undefined : config.password
    // Never connected: a socket of the user's own making would be left over.
    const resolved = yield* PgConnection.makeClient({ ...config, stream: undefined }, password)
    const self = yield* Deferred.make<Pool.Pool<PgConnection.PgConnection>>()
    const run = yield* FiberSet.makeRuntime<never>()
    const observing = yield* Observing.make(name, config.observer)
    let generation = 0
    const pool = yield* Pool.make({
      name,
      acquire: Effect.suspend(() => {
        const opened = generation
        return Effect.map(PgConnection.open(config, observing.statement), (connection) => {
          // One that breaks while it is idle goes at once, and not when somebody borrows it; after a failover, so do all
          // that were opened before.
          connection.onBroken((cause) => {
            observing.broke(cause)
            const expires = opened === generation && kindOf(cause) === "failover"
            if (expires) generation++
            run(
              Effect.flatMap(Deferred.await(self), (pool) =>
                expires ? pool.expire : pool.invalidate(connection, cause)
              )
            )
          })
          return connection
        })
      }),
      min: config.minConnections ?? Math.min(defaults.minConnections, config.maxConnections ?? defaults.maxConnections),
      max: config.maxConnections ?? defaults.maxConnections,
      acquireTimeout: config.acquireTimeout,
      maxWaiting: config.maxWaiting,
      idleTimeout: config.idleTimeout,
      lifetime: config.connectionTTL,
      connectTimeout: config.connectTimeout,
      unavailableAfter: config.unavailableAfter,
      maxConnecting: config.maxConnecting,
      leakAfter: config.leakAfter,
      start: config.start,
      check: (connection) => connection.ping,
      recycler: recycler(config),
      classify,
      observer: observing.observer
    }).pipe(Effect.mapError(asSqlError))
    observing.watch(pool.unsafeStats)
    yield* Deferred.succeed(self, pool)
    const listen = config.pooler === undefined ? yield* Listen.make(pool) : () => Stream.fail(sessionRequired(name))
    const client = yield* Client.make(
      pool,
      {
        ...config,
        host: resolved.host,
        port: resolved.port,
        database: resolved.database ?? config.database,
        username: resolved.user ?? config.username,
        password: typeof resolved.password === "string" ? Redacted.make(resolved.password) : password
      },
      listen
    )
    return { ...pool, client, listen }
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
 * A layer for a pool under a tag of yours, for apps with several: `class Reporting extends
 * Context.Tag("app/Reporting")<Reporting, PgPool.Service>() {}`. Its `client` is its `SqlClient`.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerTagged = <I>(tag: Context.Tag<I, Service>, config: PgPoolConfig): Layer.Layer<I, SqlError> =>
  Layer.scoped(tag, make(config)).pipe(Layer.provide(Reactivity.layer))

/**
 * Runs an effect with another command timeout for its statements, each on its own: for reports, migrations, long DDL
 * (`Duration.infinity`: no limit), or for what is of no use after a second. Statements of fibers that it starts are
 * meant, too. The first one for which it changes costs a round trip more.
 *
 * @category combinators
 * @since 0.1.0
 * @example
 * ```ts
 * import { PgPool } from "@checkpool/pg"
 * import { SqlClient } from "@effect/sql"
 * import { Effect } from "effect"
 *
 * export const reindex = Effect.gen(function* () {
 *   const sql = yield* SqlClient.SqlClient
 *   yield* sql`REINDEX TABLE CONCURRENTLY orders`
 * }).pipe(PgPool.withCommandTimeout("1 hour"))
 * ```
 */
export const withCommandTimeout: {
  (timeout: Duration.DurationInput): <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
  <A, E, R>(effect: Effect.Effect<A, E, R>, timeout: Duration.DurationInput): Effect.Effect<A, E, R>
} = dual(
  2,
  <A, E, R>(effect: Effect.Effect<A, E, R>, timeout: Duration.DurationInput): Effect.Effect<A, E, R> =>
    Effect.locally(effect, CommandTimeout.override, Duration.toMillis(timeout))
)

/**
 * Whether the same work has a chance if it is done again: a serialization failure or a deadlock, a connection that was
 * lost, a server that is full, down or handed over, a saturated pool.
 *
 * @category predicates
 * @since 0.1.0
 */
export const isTransient = (error: unknown): boolean => {
  const kind = kindOf(error)
  if (kind !== undefined) return kind !== "user" && kind !== "refused"
  const pooled = findPoolError(error)
  if (pooled !== undefined) return pooled._tag !== "PoolClosed" && pooled._tag !== "NestedAcquire"
  return error instanceof SqlError && (PgConnection.isLost(error.cause) || error.cause instanceof ConnectTimeout)
}

/**
 * Tries transient failures again, five times at most, after 50 ms, 100 ms, … with jitter. For work that may be done
 * twice: when a connection is lost during a COMMIT, nobody can say whether it took place.
 *
 * @category combinators
 * @since 0.1.0
 * @example
 * ```ts
 * import { PgPool } from "@checkpool/pg"
 * import { SqlClient } from "@effect/sql"
 * import { Effect } from "effect"
 *
 * export const transfer = Effect.gen(function* () {
 *   const sql = yield* SqlClient.SqlClient
 *   yield* sql.withTransaction(sql`UPDATE accounts SET balance = balance - 1 WHERE id = 1`)
 * }).pipe(Effect.retry(PgPool.retryTransient))
 * ```
 */
export const retryTransient: Schedule.Schedule<number, unknown> = Schedule.recurs(5).pipe(
  Schedule.addDelay((tries) => 50 * 2 ** tries),
  Schedule.jittered,
  Schedule.whileInput(isTransient)
)

/**
 * The pool's error inside an error of `SqlClient` (or of what builds on it), if that is what went wrong.
 *
 * @category getters
 * @since 0.1.0
 */
export const poolError = (error: unknown): PoolError | undefined => findPoolError(error)

const makeContext = (config: PgPoolConfig) =>
  Effect.map(make(config), (pool) =>
    Context.make(PgPool, pool).pipe(Context.add(PgClient, pool.client), Context.add(SqlClient, pool.client))
  )

const sessionRequired = (pool: string): SqlError => {
  const cause = new SessionRequired({ pool, operation: "LISTEN" })
  return new SqlError({ cause, message: cause.message })
}

const recycler = ({
  maxUses = defaults.maxUses,
  pooler,
  reset
}: PgPoolConfig): Recycler.Recycler<PgConnection.PgConnection> =>
  Recycler.combine(
    (connection) =>
      connection.broken !== undefined
        ? Recycler.close(connection.broken)
        : connection.statements >= maxUses
          ? Recycler.close(`ran ${connection.statements} statements`)
          : Recycler.keep,
    Recycler.resetWhen(
      (connection) => connection.dirty || (reset === "always" && pooler === undefined),
      (connection) => connection.reset
    )
  )

const classify = (error: SqlError) => {
  const kind = kindOf(error)
  return kind === "saturated" ? "capacity" : kind === "refused" ? "fatal" : "failed"
}

const kindOf = (error: unknown): SqlState.Kind | undefined => {
  const sqlState = SqlState.of(error)
  return sqlState === undefined ? undefined : SqlState.kindOf(sqlState)
}

const asSqlError = (error: SqlError | { readonly message: string }): SqlError =>
  error instanceof SqlError ? error : new SqlError({ cause: error, message: error.message })
