/**
 * LangGraph's tables, in the numbering of its Python saver, which continues that of the JavaScript one: after them,
 * either finds its tables made and has nothing to do.
 *
 * @internal
 */
import type { SqlClient } from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import { quote } from "./statements.ts"

/** The version that the statements need: with the column `task_path`. @internal */
export const needed = 9

/** The statement of each version, at its index. @internal */
export const statements = (schema: string): ReadonlyArray<string> => {
  const s = quote(schema)
  return [
    `CREATE TABLE IF NOT EXISTS ${s}.checkpoint_migrations (v INTEGER PRIMARY KEY)`,
    `CREATE TABLE IF NOT EXISTS ${s}.checkpoints (
  thread_id TEXT NOT NULL,
  checkpoint_ns TEXT NOT NULL DEFAULT '',
  checkpoint_id TEXT NOT NULL,
  parent_checkpoint_id TEXT,
  type TEXT,
  checkpoint JSONB NOT NULL,
  metadata JSONB NOT NULL DEFAULT '{}',
  PRIMARY KEY (thread_id, checkpoint_ns, checkpoint_id)
)`,
    `CREATE TABLE IF NOT EXISTS ${s}.checkpoint_blobs (
  thread_id TEXT NOT NULL,
  checkpoint_ns TEXT NOT NULL DEFAULT '',
  channel TEXT NOT NULL,
  version TEXT NOT NULL,
  type TEXT NOT NULL,
  blob BYTEA,
  PRIMARY KEY (thread_id, checkpoint_ns, channel, version)
)`,
    `CREATE TABLE IF NOT EXISTS ${s}.checkpoint_writes (
  thread_id TEXT NOT NULL,
  checkpoint_ns TEXT NOT NULL DEFAULT '',
  checkpoint_id TEXT NOT NULL,
  task_id TEXT NOT NULL,
  idx INTEGER NOT NULL,
  channel TEXT NOT NULL,
  type TEXT,
  blob BYTEA NOT NULL,
  PRIMARY KEY (thread_id, checkpoint_ns, checkpoint_id, task_id, idx)
)`,
    `ALTER TABLE ${s}.checkpoint_blobs ALTER COLUMN blob DROP NOT NULL`,
    "SELECT 1",
    // 6 to 8 are Python's indexes on thread_id alone. Each primary key begins with thread_id and serves the same
    // queries, while one more index on each table would cost every write. So the numbers are taken, the indexes are not
    // made, and those of a database that has them are left alone.
    "SELECT 1",
    "SELECT 1",
    "SELECT 1",
    `ALTER TABLE ${s}.checkpoint_writes ADD COLUMN IF NOT EXISTS task_path TEXT NOT NULL DEFAULT ''`
  ]
}

/**
 * Gives the latest checkpoint by code point where the database's own collation is a linguistic one. Made with the
 * table only: on a table with rows it would lock writers out while it is built.
 *
 * @internal
 */
export const latestIndex = (schema: string): string =>
  `CREATE INDEX IF NOT EXISTS checkpoints_by_code_point
ON ${quote(schema)}.checkpoints (thread_id, checkpoint_ns, checkpoint_id COLLATE "C")`

/** The version of the tables, -1 when there are none. @internal */
export const version = (sql: SqlClient, schema: string): Effect.Effect<number, SqlError> =>
  Effect.gen(function* () {
    // Not to_regclass: it may answer from the session's cache what was so before the lock was waited for.
    const tables = yield* sql.unsafe(
      `SELECT 1 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = $1::text AND c.relname = 'checkpoint_migrations'`,
      [schema]
    )
    if (tables.length === 0) return -1
    const [latest] = yield* sql.unsafe(`SELECT max(v)::text FROM ${quote(schema)}.checkpoint_migrations`).values
    return Number(latest?.[0] ?? -1)
  })

/**
 * Brings the tables up to the version needed: one transaction, one caller at a time. Callers that come together wait
 * for the first and find its work done.
 *
 * @internal
 */
export const migrate = (sql: SqlClient, schema: string): Effect.Effect<void, SqlError> =>
  Effect.gen(function* () {
    if ((yield* version(sql, schema)) >= needed) return
    yield* Effect.retry(sql.withTransaction(migrateLocked(sql, schema)), { times: 5, while: isRace })
  })

const migrateLocked = Effect.fnUntraced(function* (sql: SqlClient, schema: string) {
  // Under a stricter default the snapshot would be older than the lock and miss what its last holder did.
  yield* sql.unsafe("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")
  yield* sql.unsafe("SELECT pg_advisory_xact_lock($1::int, hashtext($2::text))", [lockClass, schema])
  const have = yield* version(sql, schema)
  if (have >= needed) return
  // Asked first, because CREATE SCHEMA IF NOT EXISTS needs the right to create one even if it exists.
  const schemas = yield* sql.unsafe("SELECT 1 FROM pg_namespace WHERE nspname = $1::text", [schema])
  if (schemas.length === 0) yield* sql.unsafe(`CREATE SCHEMA ${quote(schema)}`)
  for (const [v, statement] of statements(schema).entries()) {
    if (v <= have) continue
    yield* sql.unsafe(statement)
    yield* sql.unsafe(`INSERT INTO ${quote(schema)}.checkpoint_migrations (v) VALUES ($1::int)`, [v])
  }
  if (have < 1 && !(yield* ordersByCodePoint(sql, schema))) yield* sql.unsafe(latestIndex(schema))
})

/** Whether the collation of `checkpoint_id` is by code point, so that its primary key's index has that order. @internal */
export const ordersByCodePoint = (sql: SqlClient, schema: string): Effect.Effect<boolean, SqlError> =>
  Effect.map(
    sql.unsafe(
      // The database's row as JSON, because the columns that tell its provider differ between server versions.
      `SELECT CASE a.attcollation
  WHEN 'pg_catalog."C"'::regcollation THEN 'C'
  WHEN 'pg_catalog."default"'::regcollation THEN CASE to_jsonb(d) ->> 'datlocprovider'
    WHEN 'i' THEN 'other'
    WHEN 'b' THEN 'C'
    ELSE to_jsonb(d) ->> 'datcollate' END
  ELSE 'other' END
FROM pg_attribute a
JOIN pg_class c ON c.oid = a.attrelid AND c.relname = 'checkpoints'
JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = $1::text
JOIN pg_database d ON d.datname = current_database()
WHERE a.attname = 'checkpoint_id'`,
      [schema]
    ).values,
    (rows) => rows[0]?.[0] === "C" || rows[0]?.[0] === "POSIX"
  )

// "chkp"; with the schema's hash it is this library's key among the advisory locks of the database.
const lockClass = 0x63_68_6b_70

// What a saver that takes no lock can cause when it makes the same tables at the same moment: each step is there by now.
const isRace = (error: SqlError): boolean => {
  const code: unknown = (error.cause as { readonly code?: unknown } | undefined)?.code
  return code === "23505" || code === "42P06" || code === "42P07" || code === "42701" || code === "XX000"
}
