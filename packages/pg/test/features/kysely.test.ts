import { SqlClient } from "@effect/sql"
import * as PgKysely from "@effect/sql-kysely/Pg"
import { expect, layer } from "@effect/vitest"
import { Effect } from "effect"
import type { Generated } from "kysely"
import { ServerLive } from "../server.ts"
import { sameOnBoth } from "./stock.ts"

interface Database {
  readonly users: { id: Generated<number>; name: string; nickname: string | null }
}

layer(ServerLive, { excludeTestServices: true, timeout: "60 seconds" })("Kysely", (it) => {
  it.effect("builds and runs queries, in transactions too", () =>
    Effect.gen(function* () {
      const result = yield* sameOnBoth(
        Effect.gen(function* () {
          const sql = yield* SqlClient.SqlClient
          const db = yield* PgKysely.make<Database>()
          yield* db.schema
            .createTable("users")
            .addColumn("id", "serial", (column) => column.primaryKey())
            .addColumn("name", "text", (column) => column.notNull().unique())
            .addColumn("nickname", "text")
          const inserted = yield* db.insertInto("users").values({ name: "Alice" }).returningAll()
          yield* Effect.ignore(
            sql.withTransaction(Effect.zipRight(db.deleteFrom("users").where("id", "=", 1), Effect.fail("undone")))
          )
          const conflict = yield* Effect.flip(db.insertInto("users").values({ name: "Alice" }))
          return {
            inserted,
            conflict: conflict._tag,
            selected: yield* db.selectFrom("users").selectAll().where("name", "in", ["Alice", "Bob"]),
            updated: yield* db.updateTable("users").set({ nickname: "Al" }).where("id", "=", 1).returning("nickname"),
            inTransaction: yield* sql.withTransaction(db.selectFrom("users").select("name"))
          }
        })
      )
      expect(result).toEqual({
        inserted: [{ id: 1, name: "Alice", nickname: null }],
        conflict: "SqlError",
        selected: [{ id: 1, name: "Alice", nickname: null }],
        updated: [{ nickname: "Al" }],
        inTransaction: [{ name: "Alice" }]
      })
    })
  )
})
