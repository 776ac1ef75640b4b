import { NodeContext } from "@effect/platform-node"
import { Migrator, SqlClient } from "@effect/sql"
import { PgMigrator } from "@effect/sql-pg"
import { expect, layer } from "@effect/vitest"
import { Effect, String } from "effect"
import { poolLayer, ServerLive } from "../server.ts"
import { onOurs, sameOnBoth } from "./stock.ts"

const create = Effect.flatMap(SqlClient.SqlClient, (sql) => sql`CREATE TABLE first (id int)`)
const fill = Effect.flatMap(SqlClient.SqlClient, (sql) => sql`INSERT INTO first VALUES (1)`)
const break_ = Effect.flatMap(SqlClient.SqlClient, (sql) => sql`INSERT INTO nowhere VALUES (1)`)

const run = (migrations: Record<string, Effect.Effect<unknown, unknown, SqlClient.SqlClient>>) =>
  PgMigrator.run({ loader: Migrator.fromRecord(migrations) }).pipe(Effect.provide(NodeContext.layer))

layer(ServerLive, { excludeTestServices: true, timeout: "60 seconds" })("migrations", (it) => {
  it.effect("run once each, in their order", () =>
    Effect.gen(function* () {
      const result = yield* sameOnBoth(
        Effect.gen(function* () {
          const sql = yield* SqlClient.SqlClient
          return [
            yield* run({ "1_create": create }),
            yield* run({ "1_create": create, "2_fill": fill }),
            yield* run({ "1_create": create, "2_fill": fill }),
            yield* sql`SELECT migration_id, name FROM effect_sql_migrations ORDER BY 1`.withoutTransform,
            yield* sql`SELECT id FROM first`
          ]
        }),
        { transformQueryNames: String.camelToSnake, transformResultNames: String.snakeToCamel }
      )
      expect(result.slice(0, 3)).toEqual([[[1, "create"]], [[2, "fill"]], []])
    })
  )

  it.effect("one that fails leaves nothing of its run", () =>
    Effect.gen(function* () {
      const result = yield* onOurs(
        Effect.gen(function* () {
          const sql = yield* SqlClient.SqlClient
          yield* Effect.exit(run({ "1_create": create, "2_break": break_ }))
          return yield* sql`SELECT to_regclass('first') AS first`
        })
      )
      expect(result).toEqual([{ first: null }])
    })
  )

  it.effect("two apps that start at once run them once", () =>
    onOurs(
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        yield* run({ "1_create": create })
        const start = run({ "1_create": create, "2_fill": fill }).pipe(
          Effect.catchTag("MigrationError", (error) => Effect.succeed(error.reason)),
          Effect.provide(poolLayer())
        )
        yield* Effect.all([start, start], { concurrency: 2 })
        expect(yield* sql`SELECT id FROM first`.values).toEqual([[1]])
      })
    )
  )
})
