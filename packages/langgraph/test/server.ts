import { EmbeddedPostgres } from "@checkpool/embedded"
import { PgPool } from "@checkpool/pg"
import { SqlClient } from "@effect/sql"
import { afterAll, beforeAll } from "@effect/vitest"
import { PostgresSaver } from "@langchain/langgraph-checkpoint-postgres"
import { Effect, Layer, ManagedRuntime, Redacted } from "effect"
import Pg from "pg"
import { CheckpoolSaver } from "../src/index.ts"

// Nothing here crashes the server, so it need not wait for the disk.
const Server = EmbeddedPostgres.layer({ parameters: { fsync: "off" } })

const Pool = Layer.unwrapEffect(
  Effect.map(EmbeddedPostgres.EmbeddedPostgres, ({ url }) => PgPool.layer({ url, maxConnections: 10 }))
)

/** One server and one pool for each test file that imports this: as it were the application that a saver is part of. */
export const app = ManagedRuntime.make(Layer.provideMerge(Pool, Server))

/** Where the server is. */
export const server: { url: string } = { url: "" }

beforeAll(async () => {
  server.url = Redacted.value((await app.runPromise(EmbeddedPostgres.EmbeddedPostgres)).url)
})
afterAll(() => app.dispose())

let schemas = 0

/** A schema of its own for each test, so that they don't see each other's threads. */
export const newSchema = (): string => `saver ${++schemas}`

/** Runs a statement and gives its rows. */
export const query = (statement: string, parameters: ReadonlyArray<unknown> = []) =>
  app.runPromise(
    Effect.flatMap(SqlClient.SqlClient, (sql) => sql.unsafe<Record<string, unknown>>(statement, parameters))
  )

/** Two savers on one schema: LangGraph's own and ours. The tables are not there yet. */
export const withBoth = async (
  f: (stock: PostgresSaver, ours: CheckpoolSaver, schema: string) => Promise<void>
): Promise<void> => {
  // The stock saver quotes no names.
  const schema = newSchema().replace(" ", "_")
  const pool = new Pg.Pool({ connectionString: server.url, max: 2 })
  await using ours = CheckpoolSaver.fromRuntime(app, { schema })
  try {
    await f(new PostgresSaver(pool, undefined, { schema }), ours, schema)
  } finally {
    await pool.end()
  }
}
