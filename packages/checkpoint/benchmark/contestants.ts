/**
 * Who is measured: LangGraph's own saver on a `pg` pool of ten connections, and ours on different clients of ten.
 */
import { Checkpointer, SqlCheckpointer } from "@checkpool/checkpoint"
import { PgPool } from "@checkpool/pg"
import { SqlClient } from "@effect/sql"
import { PgClient } from "@effect/sql-pg"
import { PostgresSaver } from "@langchain/langgraph-checkpoint-postgres"
import { Context, Effect, Layer, Redacted } from "effect"
import Pg from "pg"

export const connections = 10

export const make = (url: Redacted.Redacted) =>
  Effect.gen(function* () {
    const ownPool = yield* Layer.build(
      PgPool.layer({ url, maxConnections: connections, minConnections: connections, start: "min" })
    )
    const sqlPg = yield* Layer.build(PgClient.layer({ url, maxConnections: connections }))
    const pg = yield* Effect.acquireRelease(
      Effect.sync(() => {
        const pool = new Pg.Pool({ connectionString: Redacted.value(url), max: connections })
        // Without a listener the end of the server would be the end of the process.
        return pool.on("error", () => {})
      }),
      (pool) => Effect.promise(() => pool.end())
    )
    const checkpointer = (client: Context.Context<SqlClient.SqlClient>, options: SqlCheckpointer.Options) =>
      Effect.map(Layer.build(Layer.provide(SqlCheckpointer.layer(options), Layer.succeedContext(client))), (context) =>
        Context.get(context, Checkpointer.Checkpointer)
      )
    return {
      sql: Context.get(ownPool, SqlClient.SqlClient),
      ours: yield* checkpointer(ownPool, {}),
      alone: yield* checkpointer(ownPool, { groupCommit: false }),
      onSqlPg: yield* checkpointer(sqlPg, {}),
      stock: new PostgresSaver(pg)
    }
  })

export type Contestants = Effect.Effect.Success<ReturnType<typeof make>>
