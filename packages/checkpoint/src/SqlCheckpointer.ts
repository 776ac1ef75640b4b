/**
 * A checkpointer in Postgres, on LangGraph's tables: an existing database, its data and its tools go on working.
 *
 * Each operation is one statement, so it is atomic and costs one round trip. Writes that come at the same time share
 * statements and commits: a lone one goes out at once, and what comes while some are on their way goes out together next.
 * It needs no more than a `SqlClient`: checkpool's own pool or stock `@effect/sql-pg`. Within `sql.withTransaction` it takes
 * part in that transaction.
 *
 * It does not delete what is old, and it does not open connections of its own.
 *
 * @since 0.1.0
 */
import * as SqlClient from "@effect/sql/SqlClient"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Predicate from "effect/Predicate"
import type * as Scope from "effect/Scope"
import { type CheckpointerError, type InvalidIdentifier, SchemaOutdated } from "./CheckpointError.ts"
import * as Checkpointer from "./Checkpointer.ts"
import * as Codec from "./Codec.ts"
import * as GroupCommit from "./internal/groupCommit.ts"
import * as Identifiers from "./internal/identifiers.ts"
import * as Indexes from "./internal/indexes.ts"
import * as SqlLeases from "./internal/lease/sql.ts"
import * as SqlLife from "./internal/life/sql.ts"
import * as Migrations from "./internal/migrations.ts"
import * as Reads from "./internal/reads.ts"
import * as Statements from "./internal/statements.ts"
import * as Store from "./internal/store.ts"

/**
 * What can be chosen.
 *
 * @since 0.1.0
 * @category options
 */
export interface Options {
  /**
   * The database schema of the tables. Default: `public`, as LangGraph has it.
   */
  readonly schema?: string | undefined
  /**
   * What to do about the tables when the layer is built. Default: `migrate`.
   *
   * - `migrate`: make them or bring them up to date. Any number of processes may do so at the same time. Tables that are
   *   up to date are only looked at, so a user without the right to alter them will do from then on.
   * - `verify`: fail with `SchemaOutdated` if they aren't up to date.
   * - `none`: take it that they are.
   *
   * {@link setupScript} gives the statements to those who run such things by hand.
   *
   * Ids are compared by code point. If the database's collation is another one, `migrate` gives new tables an index in
   * that order. Tables that were made by another program have none, and finding the latest checkpoint then takes time
   * in proportion to the thread's length: {@link createIndexes} mends that, while writers go on.
   */
  readonly setup?: "migrate" | "verify" | "none" | undefined
  /**
   * How writes share statements; `false`: each one has its own. Default: they share.
   */
  readonly groupCommit?: GroupCommitOptions | false | undefined
}

/**
 * How writes share statements. The laws of `Checkpointer` hold in any case: a write succeeds once it is committed, those
 * of one thread are done in their order, one that the database refuses fails alone, and an interrupt concerns its own
 * caller only. A saturated pool or a lost connection is waited for, with pauses, until `timeout`.
 *
 * @since 0.1.0
 * @category options
 */
export interface GroupCommitOptions {
  /**
   * Statements on their way at the same time. Default 3, but never more than half of the client's connections: client
   * and server then work at the same time, and there are connections left for reads and for your own statements. What is
   * asked for at the same time shares them, eight writes or more in each.
   */
  readonly maxInFlight?: number | undefined
  /** Writes in one statement. Default 32: larger ones gain little, and make the writers in them wait for each other. */
  readonly maxBatch?: number | undefined
  /** Bytes in one statement; a larger write goes alone. Default 1 MiB. */
  readonly maxBatchBytes?: number | undefined
  /** Writes that may wait; the next one fails with `CheckpointerOverloaded`. Default 10,000. */
  readonly maxQueued?: number | undefined
  /** Bytes that may wait. Default 64 MiB: what the process may lose to a slow database in memory. */
  readonly maxQueuedBytes?: number | undefined
  /**
   * How long a write may wait for its turn, and be tried again. Default 30 s. What has been sent is waited for beyond
   * that: the client's own command timeout bounds it.
   */
  readonly timeout?: Duration.DurationInput | undefined
  /** How long the end of the scope waits for writes that are queued or on their way. Default 5 s. */
  readonly grace?: Duration.DurationInput | undefined
}

/**
 * The options that hold where none are given.
 *
 * @since 0.1.0
 * @category options
 */
export const defaults: {
  readonly schema: string
  readonly setup: NonNullable<Options["setup"]>
  readonly groupCommit: { readonly [K in keyof GroupCommitOptions]-?: NonNullable<GroupCommitOptions[K]> }
} = {
  schema: "public",
  setup: "migrate",
  groupCommit: {
    maxInFlight: 3,
    maxBatch: 32,
    maxBatchBytes: 1024 * 1024,
    maxQueued: 10_000,
    maxQueuedBytes: 64 * 1024 * 1024,
    timeout: "30 seconds",
    grace: "5 seconds"
  }
}

/**
 * Why a checkpointer could not be built.
 *
 * @since 0.1.0
 * @category errors
 */
export type SetupError = CheckpointerError | SchemaOutdated | InvalidIdentifier

/**
 * Builds a checkpointer over the `SqlClient` at hand.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  options: Options = {}
): Effect.Effect<Checkpointer.Service, SetupError, SqlClient.SqlClient | Scope.Scope> =>
  Effect.gen(function* () {
    const schema = options.schema ?? defaults.schema
    yield* validSchema(schema)
    const codec = yield* Codec.Codec
    // The renaming of columns that an application may have set is for its own rows.
    const client = yield* SqlClient.SqlClient
    const sql = client.withoutTransforms()
    const byCodePoint = yield* setUp(sql, schema, options.setup ?? defaults.setup)
    const statements = Statements.make(sql, schema)
    const writer =
      options.groupCommit === false
        ? GroupCommit.direct(statements)
        : yield* GroupCommit.make(statements, groupCommitOptions(options.groupCommit ?? {}, client))
    const reads = Reads.make(sql, schema, byCodePoint)

    const leases = SqlLeases.make(sql, schema)
    const store = {
      ...SqlLeases.fencing(writer, statements, leases),
      ...SqlLife.make(sql, schema, statements, writer.exclusively, leases, byCodePoint),
      get: (place, checkpointId) => GroupCommit.failingAs("get", reads.get(place, checkpointId)),
      page: (query) => GroupCommit.failingAs("list", reads.page(query)),
      writesTo: (keys, channel) => GroupCommit.failingAs("get", reads.writesTo(keys, channel)),
      ancestors: (place, checkpointId, channels) =>
        GroupCommit.failingAs("deltaHistory", reads.ancestors(place, checkpointId, channels))
    } satisfies Parameters<typeof Store.toService>[1]
    return Store.toService(codec, store, leases)
  })

/**
 * A layer with {@link make}.
 *
 * @example
 * ```ts
 * import { Checkpoint, Checkpointer, SqlCheckpointer } from "@checkpool/checkpoint"
 * import { PgPool } from "@checkpool/pg"
 * import { Config, Effect, Layer } from "effect"
 *
 * const CheckpointerLive = SqlCheckpointer.layer({ schema: "agent" }).pipe(
 *   Layer.provide(PgPool.layerConfig({ url: Config.redacted("DATABASE_URL") }))
 * )
 *
 * const step = Effect.gen(function* () {
 *   const checkpointer = yield* Checkpointer.Checkpointer
 *   const checkpoint = yield* Checkpoint.make({ channel_values: { count: 1 }, channel_versions: { count: 1 } })
 *   yield* checkpointer.put({ threadId: "t", checkpoint, metadata: {}, newVersions: { count: 1 } })
 * })
 *
 * export const main = Effect.provide(step, CheckpointerLive)
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (options?: Options): Layer.Layer<Checkpointer.Checkpointer, SetupError, SqlClient.SqlClient> =>
  Layer.scoped(Checkpointer.Checkpointer, make(options))

/**
 * The statements that make the tables or bring them up to date, as a script for `psql` or a migration of your own. To run
 * it again changes nothing.
 *
 * @throws InvalidIdentifier
 * @since 0.1.0
 * @category setup
 */
export const setupScript = (schema: string = defaults.schema): string => {
  const invalid = Identifiers.checkSchema(schema)
  if (invalid !== undefined) throw invalid
  return Migrations.script(schema)
}

/**
 * What {@link createIndexes} takes.
 *
 * @since 0.1.0
 * @category options
 */
export interface IndexOptions {
  /** The database schema of the tables. Default: `public`. */
  readonly schema?: string | undefined
  /**
   * Makes `list` with a filter on metadata fast where few checkpoints match. Default: `false`, since it makes each `put`
   * slower, and lists of one thread have the primary key.
   */
  readonly metadata?: boolean | undefined
}

/**
 * Makes the indexes that set-up doesn't make, because the tables have rows: the one that gives the latest checkpoint, where
 * the database's collation is not by code point, and if asked for the one for filters on metadata. Writers go on
 * meanwhile. Any number of callers may ask at the same time; an index that was left half made is made anew.
 *
 * It takes time in proportion to the tables: more than `commandTimeout` allows on our pool, unless you say so with
 * `PgPool.withCommandTimeout`. It needs a session of its own, which a transaction pooler doesn't give.
 *
 * @since 0.1.0
 * @category setup
 */
export const createIndexes = (
  options: IndexOptions = {}
): Effect.Effect<void, CheckpointerError | InvalidIdentifier, SqlClient.SqlClient> =>
  Effect.gen(function* () {
    const schema = options.schema ?? defaults.schema
    yield* validSchema(schema)
    const sql = (yield* SqlClient.SqlClient).withoutTransforms()
    yield* GroupCommit.failingAs(
      "setup",
      Effect.gen(function* () {
        if (!(yield* Indexes.ordersByCodePoint(sql, schema))) yield* Indexes.ensure(sql, schema, Indexes.byCodePoint)
        if (options.metadata === true) yield* Indexes.ensure(sql, schema, Indexes.byMetadata)
      })
    )
  })

const validSchema = (schema: string): Effect.Effect<void, InvalidIdentifier> =>
  Effect.suspend(() => Identifiers.checkSchema(schema) ?? Effect.void)

const setUp = Effect.fnUntraced(function* (
  sql: SqlClient.SqlClient,
  schema: string,
  setup: NonNullable<Options["setup"]>
): Effect.fn.Return<boolean, CheckpointerError | SchemaOutdated> {
  if (setup === "migrate") yield* GroupCommit.failingAs("setup", Migrations.migrate(sql, schema))
  if (setup === "verify") {
    const outdated = yield* GroupCommit.failingAs("setup", Migrations.outdated(sql, schema))
    if (outdated !== undefined) {
      const { have, series } = outdated
      return yield* new SchemaOutdated({ schema, table: series.table, have, need: Migrations.needed(series) })
    }
  }
  return yield* GroupCommit.failingAs("setup", Indexes.ordersByCodePoint(sql, schema))
})

const groupCommitOptions = (given: GroupCommitOptions, client: SqlClient.SqlClient): GroupCommit.Options => {
  const maxInFlight = Math.max(1, Math.min(defaults.groupCommit.maxInFlight, Math.floor(connections(client) / 2)))
  const options = { ...defaults.groupCommit, maxInFlight, ...definedIn(given) }
  for (const option of ["maxInFlight", "maxBatch", "maxBatchBytes", "maxQueued", "maxQueuedBytes"] as const) {
    if (!(options[option] >= 1))
      throw new RangeError(`groupCommit.${option} is ${options[option]}, but has to be at least 1`)
  }
  return options
}

/** The clients that have a pool say how it was configured; sql-pg's own default is 10. */
const connections = (client: SqlClient.SqlClient): number =>
  Predicate.hasProperty(client, "config") &&
  Predicate.hasProperty(client.config, "maxConnections") &&
  typeof client.config.maxConnections === "number"
    ? client.config.maxConnections
    : 10

const definedIn = (given: GroupCommitOptions) =>
  Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined)) as {
    readonly [K in keyof GroupCommitOptions]: NonNullable<GroupCommitOptions[K]>
  }
