/**
 * sql-pg's `PgClient` over a pool. sql-pg v3 has no builder over acquirers, so it is put together from the public parts
 * of `@effect/sql` and sql-pg, here and nowhere else.
 */
import type { Pool, Restore } from "@checkpool/pool/Pool"
import type * as Reactivity from "@effect/experimental/Reactivity"
import * as SqlClient from "@effect/sql/SqlClient"
import type { Connection } from "@effect/sql/SqlConnection"
import type { SqlError } from "@effect/sql/SqlError"
import * as Statement from "@effect/sql/Statement"
import * as SqlPg from "@effect/sql-pg/PgClient"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import type { PgConnection } from "../PgConnection.ts"
import * as Borrow from "./borrow.ts"
import type { Connection as OwnConnection } from "./connection.ts"
import type { Listen } from "./listen.ts"
import * as OwnStatement from "./statement.ts"
import * as Transaction from "./transaction.ts"

const PgJson = Statement.custom<Statement.Custom<"PgJson", unknown>>("PgJson")

/** @internal */
export const make = (
  pool: Pool<PgConnection>,
  config: SqlPg.PgClientConfig,
  listen: Listen
): Effect.Effect<SqlPg.PgClient, never, Reactivity.Reactivity> =>
  Effect.gen(function* () {
    const connection = pooled(pool)
    const spanAttributes: ReadonlyArray<readonly [string, unknown]> = [
      ...Object.entries(config.spanAttributes ?? {}),
      ["db.system.name", "postgresql"],
      ["db.namespace", config.database ?? config.username ?? "postgres"],
      ["server.address", config.host ?? "localhost"],
      ["server.port", config.port ?? 5432]
    ]
    const compiler = SqlPg.makeCompiler(config.transformQueryNames, config.transformJson)
    const transformRows =
      config.transformResultNames === undefined
        ? undefined
        : Statement.defaultTransforms(config.transformResultNames, config.transformJson).array
    const stock = yield* SqlClient.make({
      acquirer: Effect.succeed(connection),
      transactionAcquirer: Borrow.get(pool),
      compiler,
      transformRows,
      spanAttributes
    })
    const statement = OwnStatement.make(connection, compiler, spanAttributes, transformRows)
    const client: SqlClient.SqlClient = Object.assign(statement, { ...stock, ...statement })
    return Object.assign(client, {
      safe: client,
      [SqlPg.TypeId]: SqlPg.TypeId,
      config,
      withTransaction: Transaction.make((f) => Borrow.use(pool, f), spanAttributes),
      json: (value: unknown) => PgJson(value),
      listen: (channel: string) =>
        Stream.filterMap(listen(channel), (heard) =>
          heard._tag === "Notified" ? Option.some(heard.payload) : Option.none()
        ),
      notify: (channel: string, payload: string) =>
        Effect.asVoid(connection.executeRaw("SELECT pg_notify($1, $2)", [channel, payload]))
    })
  })

/** Each statement borrows a connection for itself. */
const pooled = (pool: Pool<PgConnection>): Connection => {
  // The connections of a `PgPool` are all of this class.
  const use = <A>(f: (connection: OwnConnection, restore: Restore) => Effect.Effect<A, SqlError>) =>
    Borrow.run(pool, f as (connection: PgConnection, restore: Restore) => Effect.Effect<A, SqlError>)
  return {
    execute: (sql, params, transformRows) => use((_, restore) => _.execute(sql, params, transformRows, restore)),
    executeRaw: (sql, params) => use((_, restore) => _.executeRaw(sql, params, restore)),
    executeValues: (sql, params) => use((_, restore) => _.executeValues(sql, params, restore)),
    executeUnprepared: (sql, params, transformRows) =>
      use((_, restore) => _.executeUnprepared(sql, params, transformRows, restore)),
    executeStream: (sql, params, transformRows) =>
      Stream.unwrapScoped(
        Effect.map(Borrow.get(pool), (connection) => connection.executeStream(sql, params, transformRows))
      )
  }
}
