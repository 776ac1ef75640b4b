/**
 * The tables: LangGraph's, in the numbering of its Python saver, which continues that of the JavaScript one, so that after
 * us either finds its tables made and has nothing to do; and what is this library's own, numbered in a table of its own.
 *
 * @internal
 */
import type { SqlClient } from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import * as Indexes from "./indexes.ts"
import { quote } from "./statements.ts"

/** Steps that are numbered in one table, each statement at the index that is its number. @internal */
export interface Series {
  readonly table: "checkpoint_migrations" | "checkpool_migrations"
  readonly statements: (schema: string) => ReadonlyArray<string>
}

/** Up to the version that our statements need: with the column `task_path`. @internal */
export const langGraph: Series = {
  table: "checkpoint_migrations",
  statements: (schema) => {
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
      nothing,
      // 6 to 8 are Python's indexes on thread_id alone. Each primary key begins with thread_id and serves the same
      // queries, while one more index on each table would cost every write. So the numbers are taken, the indexes are not
      // made, and those of a database that has them are left alone.
      nothing,
      nothing,
      nothing,
      `ALTER TABLE ${s}.checkpoint_writes ADD COLUMN IF NOT EXISTS task_path TEXT NOT NULL DEFAULT ''`
    ]
  }
}

/** @internal */
export const own: Series = {
  table: "checkpool_migrations",
  statements: (schema) => {
    const s = quote(schema)
    return [
      `CREATE TABLE IF NOT EXISTS ${s}.checkpool_migrations (v INTEGER PRIMARY KEY)`,
      // What is written on top of a checkpoint that a deletion has taken along comes too late (see `statements.ts`).
      `CREATE TABLE IF NOT EXISTS ${s}.checkpool_deleted_threads (
  thread_id TEXT PRIMARY KEY,
  last_checkpoint_id TEXT COLLATE "C" NOT NULL,
  deleted_at TIMESTAMPTZ NOT NULL DEFAULT now()
)`,
      `CREATE INDEX IF NOT EXISTS checkpool_deleted_threads_by_age ON ${s}.checkpool_deleted_threads (deleted_at)`,
      // Values that no checkpoint names any more, and since when (see `life/prune.ts`).
      `CREATE TABLE IF NOT EXISTS ${s}.checkpool_retired_values (
  thread_id TEXT NOT NULL,
  checkpoint_ns TEXT NOT NULL,
  channel TEXT NOT NULL,
  version TEXT NOT NULL,
  retired_at TIMESTAMPTZ NOT NULL,
  PRIMARY KEY (thread_id, checkpoint_ns, channel, version)
)`,
      // An index on retired_at, until it was found that everything asks for the values of a thread; see the last one.
      nothing,
      // How long each thread may live, in milliseconds, and who looks after it (see `life/retentionSql.ts`).
      `CREATE TABLE IF NOT EXISTS ${s}.checkpool_retention (
  thread_id TEXT PRIMARY KEY,
  ttl DOUBLE PRECISION,
  ttl_set_at TIMESTAMPTZ,
  looked_at TIMESTAMPTZ NOT NULL DEFAULT '-infinity',
  leased_until TIMESTAMPTZ NOT NULL DEFAULT '-infinity'
)`,
      `CREATE INDEX IF NOT EXISTS checkpool_retention_by_turn ON ${s}.checkpool_retention (looked_at)`,
      `DROP INDEX IF EXISTS ${s}.checkpool_retired_values_by_age`
    ]
  }
}

/** @internal */
export const all: ReadonlyArray<Series> = [langGraph, own]

/** The version that is needed: the last one. @internal */
export const needed = (series: Series): number => series.statements("").length - 1

/** The version of the tables, -1 when there are none. @internal */
export const version = (sql: SqlClient, schema: string, { table }: Series): Effect.Effect<number, SqlError> =>
  Effect.gen(function* () {
    // Not to_regclass: it may answer from the session's cache what was so before the lock was waited for.
    const tables = yield* sql.unsafe(
      `SELECT 1 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = $1::text AND c.relname = $2::text`,
      [schema, table]
    )
    if (tables.length === 0) return -1
    const [latest] = yield* sql.unsafe(`SELECT max(v)::text FROM ${quote(schema)}.${table}`).values
    return Number(latest?.[0] ?? -1)
  })

/** The first series that is not complete, with its version. @internal */
export const outdated = (
  sql: SqlClient,
  schema: string
): Effect.Effect<{ readonly series: Series; readonly have: number } | undefined, SqlError> =>
  Effect.gen(function* () {
    for (const series of all) {
      const have = yield* version(sql, schema, series)
      if (have < needed(series)) return { series, have }
    }
    return undefined
  })

/**
 * Brings the tables up to the versions needed: one transaction, one caller at a time. Callers that come together wait
 * for the first and find its work done.
 *
 * @internal
 */
export const migrate = (sql: SqlClient, schema: string): Effect.Effect<void, SqlError> =>
  Effect.gen(function* () {
    if ((yield* outdated(sql, schema)) === undefined) return
    yield* Effect.retry(sql.withTransaction(migrateLocked(sql, schema)), { times: 5, while: isRace })
  })

const migrateLocked = Effect.fnUntraced(function* (sql: SqlClient, schema: string) {
  // Under a stricter default the snapshot would be older than the lock and miss what its last holder did.
  yield* sql.unsafe("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")
  yield* sql.unsafe("SELECT pg_advisory_xact_lock($1::int, hashtext($2::text))", [lockClass, schema])
  if ((yield* outdated(sql, schema)) === undefined) return
  // Asked first, because CREATE SCHEMA IF NOT EXISTS needs the right to create one even if it exists.
  const schemas = yield* sql.unsafe("SELECT 1 FROM pg_namespace WHERE nspname = $1::text", [schema])
  if (schemas.length === 0) yield* sql.unsafe(`CREATE SCHEMA ${quote(schema)}`)
  const before = yield* version(sql, schema, langGraph)
  for (const series of all) {
    const have = yield* version(sql, schema, series)
    for (const [v, statement] of series.statements(schema).entries()) {
      if (v <= have) continue
      yield* sql.unsafe(statement)
      yield* sql.unsafe(`INSERT INTO ${quote(schema)}.${series.table} (v) VALUES ($1::int)`, [v])
    }
  }
  if (before < 1 && !(yield* Indexes.ordersByCodePoint(sql, schema))) {
    yield* sql.unsafe(Indexes.create(schema, Indexes.byCodePoint))
  }
})

/** All of it as a script, for those who run such things by hand. @internal */
export const script = (schema: string): string =>
  [
    `CREATE SCHEMA IF NOT EXISTS ${quote(schema)}`,
    ...all.flatMap(({ statements, table }) =>
      statements(schema).flatMap((statement, v) => [
        ...(statement === nothing ? [] : [statement]),
        `INSERT INTO ${quote(schema)}.${table} (v) VALUES (${v}) ON CONFLICT DO NOTHING`
      ])
    ),
    `-- In a database whose collation is by code point ("C") leave this out: the primary key serves as well.\n${Indexes.create(schema, Indexes.byCodePoint)}`
  ]
    .map((statement) => `${statement};\n`)
    .join("")

const nothing = "SELECT 1"

// "chkp"; with the schema's hash it is this library's key among the advisory locks of the database.
const lockClass = 0x63_68_6b_70

// What a saver that takes no lock can cause when it makes the same tables at the same moment: each step is there by now.
const isRace = (error: SqlError): boolean => {
  const code: unknown = (error.cause as { readonly code?: unknown } | undefined)?.code
  return code === "23505" || code === "42P06" || code === "42P07" || code === "42701" || code === "XX000"
}
