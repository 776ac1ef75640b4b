/**
 * A checkpointer in Postgres, on LangGraph's tables: an existing database, its data and its tools go on working.
 *
 * Each operation is one statement, so it is atomic and costs one round trip. It needs no more than a `SqlClient`:
 * checkpool's own pool or stock `@effect/sql-pg`. Within `sql.withTransaction` it takes part in that transaction.
 *
 * It does not delete what is old, and it does not open connections of its own.
 *
 * @since 0.1.0
 */
import * as SqlClient from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import { CheckpointerError, type InvalidIdentifier, SchemaOutdated } from "./CheckpointError.ts"
import * as Checkpointer from "./Checkpointer.ts"
import * as Codec from "./Codec.ts"
import * as Identifiers from "./internal/identifiers.ts"
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
   * Ids are compared by code point. If the database's collation is another one, `migrate` gives new tables an index in
   * that order. Tables that were made by another program have none, and finding the latest checkpoint then takes time
   * in proportion to the thread's length. To mend that, run, while writers go on:
   *
   * ```sql
   * CREATE INDEX CONCURRENTLY checkpoints_by_code_point
   * ON checkpoints (thread_id, checkpoint_ns, checkpoint_id COLLATE "C")
   * ```
   */
  readonly setup?: "migrate" | "verify" | "none" | undefined
}

/**
 * The options that hold where none are given.
 *
 * @since 0.1.0
 * @category options
 */
export const defaults: { readonly schema: string; readonly setup: NonNullable<Options["setup"]> } = {
  schema: "public",
  setup: "migrate"
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
    const invalid = Identifiers.check([["schema", schema]])
    if (invalid !== undefined) return yield* invalid
    const codec = yield* Codec.Codec
    // The renaming of columns that an application may have set is for its own rows.
    const sql = (yield* SqlClient.SqlClient).withoutTransforms()
    const byCodePoint = yield* setUp(sql, schema, options.setup ?? defaults.setup)
    const statements = Statements.make(sql, schema)
    const reads = Reads.make(sql, schema, byCodePoint)

    return Store.toService(codec, {
      put: (rows) => failingAs("put", statements.put(rows)),
      putWrites: (key, rows) => failingAs("putWrites", statements.putWrites(key, rows)),
      get: (place, checkpointId) => failingAs("get", reads.get(place, checkpointId)),
      page: (query) => failingAs("list", reads.page(query)),
      writesTo: (keys, channel) => failingAs("get", reads.writesTo(keys, channel)),
      ancestors: (place, checkpointId, channels) =>
        failingAs("deltaHistory", reads.ancestors(place, checkpointId, channels))
    })
  })

/**
 * A layer with {@link make}.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (options?: Options): Layer.Layer<Checkpointer.Checkpointer, SetupError, SqlClient.SqlClient> =>
  Layer.scoped(Checkpointer.Checkpointer, make(options))

const setUp = Effect.fnUntraced(function* (
  sql: SqlClient.SqlClient,
  schema: string,
  setup: NonNullable<Options["setup"]>
): Effect.fn.Return<boolean, CheckpointerError | SchemaOutdated> {
  if (setup === "migrate") yield* failingAs("setup", Migrations.migrate(sql, schema))
  if (setup === "verify") {
    const have = yield* failingAs("setup", Migrations.version(sql, schema))
    if (have < Migrations.needed) return yield* new SchemaOutdated({ schema, have, need: Migrations.needed })
  }
  return yield* failingAs("setup", Migrations.ordersByCodePoint(sql, schema))
})

const failingAs = <A>(
  operation: CheckpointerError["operation"],
  effect: Effect.Effect<A, SqlError>
): Effect.Effect<A, CheckpointerError> =>
  Effect.mapError(effect, (cause) => new CheckpointerError({ operation, cause }))
