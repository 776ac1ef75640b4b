/**
 * Indexes beside the primary keys. On tables that have rows they are made without locking writers out.
 *
 * @internal
 */
import type { SqlClient } from "@effect/sql/SqlClient"
import type { Connection } from "@effect/sql/SqlConnection"
import type { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import { quote } from "./statements.ts"

/** @internal */
export interface Index {
  readonly name: string
  /** What comes after the table's name. */
  readonly on: string
}

/**
 * Gives the latest checkpoint by code point where the database's own collation is a linguistic one.
 *
 * @internal
 */
export const byCodePoint: Index = {
  name: "checkpoints_by_code_point",
  on: `(thread_id, checkpoint_ns, checkpoint_id COLLATE "C")`
}

/** For filters on metadata: only containment, which makes it a third as large as the general kind. @internal */
export const byMetadata: Index = { name: "checkpoints_by_metadata", on: "USING gin (metadata jsonb_path_ops)" }

/** @internal */
export const create = (schema: string, { name, on }: Index, concurrently: "" | "CONCURRENTLY " = ""): string =>
  `CREATE INDEX ${concurrently}IF NOT EXISTS ${name}\nON ${quote(schema)}.checkpoints ${on}`

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

/**
 * Makes an index while writers go on, one caller at a time. One that was left half made, by somebody who was interrupted,
 * is made anew.
 *
 * @internal
 */
export const ensure = (sql: SqlClient, schema: string, index: Index): Effect.Effect<void, SqlError> =>
  Effect.scoped(
    Effect.gen(function* () {
      // A lock of the session, since such an index can't be made in a transaction.
      const connection = yield* sql.reserve
      yield* Effect.acquireRelease(locked(connection, schema), () =>
        Effect.ignoreLogged(connection.executeValues(`SELECT pg_advisory_unlock(${lock})`, [schema]))
      )
      const [valid] =
        (yield* connection.executeValues(
          `SELECT i.indisvalid::text FROM pg_index i
JOIN pg_class c ON c.oid = i.indexrelid AND c.relname = $2::text
JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = $1::text`,
          [schema, index.name]
        ))[0] ?? []
      if (valid === "true") return
      if (valid === "false") {
        yield* connection.executeUnprepared(`DROP INDEX CONCURRENTLY ${quote(schema)}.${index.name}`, [], undefined)
      }
      yield* connection.executeUnprepared(create(schema, index, "CONCURRENTLY "), [], undefined)
    })
  )

// Asked again and again: whoever waited in a statement would be waited for in turn by the one who makes the index.
const locked = (connection: Connection, schema: string): Effect.Effect<void, SqlError> =>
  connection
    .executeValues(`SELECT pg_try_advisory_lock(${lock})::text`, [schema])
    .pipe(
      Effect.repeat({ until: (rows) => rows[0]?.[0] === "true", schedule: Schedule.spaced("100 millis") }),
      Effect.asVoid
    )

// "chki"; with the schema's hash it is this library's key for indexes among the advisory locks of the database.
const lock = `${0x63_68_6b_69}, hashtext($1::text)`
