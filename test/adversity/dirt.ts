/**
 * What a session can be left with, and the ways in which an app may have left it.
 */
import type { PgPool } from "@checkpool/pg"
import type { SqlClient } from "@effect/sql"
import { Effect, Fiber, Stream } from "effect"
import type { Outside } from "./outside.ts"

/** Everything that a session may carry over to its next borrower. */
export const look = `
  SELECT pg_backend_pid() AS pid, session_user, current_user, current_setting('role') AS role,
    current_setting('search_path') AS search_path, current_setting('statement_timeout') AS statement_timeout,
    current_setting('application_name') AS application_name, current_setting('TimeZone') AS time_zone,
    current_setting('default_transaction_isolation') AS isolation, current_setting('work_mem') AS work_mem,
    current_setting('client_encoding') AS encoding, nullif(current_setting('adversity.mine', true), '') AS mine,
    pg_current_xact_id_if_assigned() AS transaction,
    (SELECT count(*)::int FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'advisory') AS locks,
    (SELECT count(*)::int FROM pg_listening_channels()) AS channels,
    (SELECT count(*)::int FROM pg_class WHERE relnamespace = pg_my_temp_schema())
      + (SELECT count(*)::int FROM pg_proc WHERE pronamespace = pg_my_temp_schema()) AS temporary,
    (SELECT count(*)::int FROM pg_cursors WHERE is_holdable) AS cursors,
    (SELECT count(*)::int FROM pg_prepared_statements WHERE from_sql) AS prepared`

/** What the texts below refer to. */
export const prepareServer = ({ query }: Outside) =>
  Effect.forEach(
    [
      "CREATE ROLE somebody",
      "CREATE SCHEMA elsewhere",
      "CREATE TABLE copied (a int)",
      "CREATE PROCEDURE dirty() LANGUAGE plpgsql AS 'BEGIN PERFORM set_config(''adversity.mine'', ''yes'', false); END'",
      `CREATE FUNCTION hidden() RETURNS int LANGUAGE plpgsql AS '
        BEGIN
          PERFORM set_config(''adversity.mine'', ''yes'', false);
          PERFORM pg_advisory_lock(42);
          CREATE TEMPORARY TABLE hidden (a int);
          RETURN 1;
        END'`
    ],
    (text) => query(text),
    { discard: true }
  )

/** Texts that leave something in their session, as each of them is seen to do. */
export const dirt: ReadonlyArray<string> = [
  "SET work_mem = '1234kB'",
  "SELECT 1; SET work_mem = '1234kB'",
  "SELECT '--'; SET work_mem = '1234kB'",
  "SELECT '/*'; SET work_mem = '1234kB'; SELECT '*/'",
  "/* why */ -- and\nSET work_mem = '1234kB'",
  "SET statement_timeout = 59999",
  "SET NAMES 'SQL_ASCII'",
  "SET SESSION TIME ZONE 'Asia/Tokyo'",
  "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE",
  "SET SESSION AUTHORIZATION somebody",
  "SET ROLE somebody",
  "SET search_path TO elsewhere",
  "SELECT set_config('adversity.mine', 'yes', false)",
  `SELECT "set_config"('adversity.mine', 'yes', false)`,
  "SELECT pg_catalog.set_config ('search_path', 'elsewhere', false)",
  "UPDATE pg_settings SET setting = '1234' WHERE name = 'work_mem'",
  `UPDATE ONLY "pg_settings" SET setting = '1234' WHERE name = 'work_mem'`,
  "SELECT pg_advisory_lock(42)",
  "SELECT pg_advisory_lock(n) FROM generate_series(1, 3) AS n",
  "SELECT pg_try_advisory_lock_shared(1, 2)",
  "LISTEN to_whom",
  "CREATE TEMPORARY TABLE mine (a int)",
  "CREATE TABLE pg_temp.mine (a int)",
  `CREATE TABLE "pg_temp".mine (a int)`,
  "SELECT 1 AS a INTO TEMP mine",
  "EXPLAIN ANALYZE CREATE TEMP TABLE mine AS SELECT 1",
  "CREATE OR REPLACE TEMP VIEW mine AS SELECT 1",
  "CREATE TEMP SEQUENCE mine",
  "CREATE FUNCTION pg_temp.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
  "DECLARE mine CURSOR WITH HOLD FOR SELECT 1",
  "PREPARE mine AS SELECT 1",
  "DO $$ BEGIN PERFORM set_config('adversity.mine', 'yes', false); END $$",
  "CALL dirty()"
]

/** Open transactions, of all kinds. */
export const transactions: ReadonlyArray<string> = [
  "BEGIN; CREATE TABLE never (a int)",
  "BEGIN; SELECT pg_current_xact_id()",
  "BEGIN; SET LOCAL adversity.mine = 'yes'",
  "BEGIN; SELECT pg_current_xact_id(); SAVEPOINT mine",
  "BEGIN; COMMIT AND CHAIN; SELECT pg_current_xact_id()",
  "BEGIN; SELECT pg_advisory_xact_lock(42)"
]

type Way = (text: string, sql: SqlClient.SqlClient, pool: PgPool.Service) => Effect.Effect<unknown, unknown>

/** How a text may reach the server; some of them can't run every text, and then leave what they left by then. */
export const ways: Readonly<Record<string, Way>> = {
  "a statement": (text, sql) => sql.unsafe(text),
  "values of a statement": (text, sql) => sql.unsafe(text).values,
  "a borrowed connection": (text, _, pool) => pool.use((session) => session.executeUnprepared(text, [], undefined)),
  "its driver's client": (text, _, pool) => pool.use((session) => Effect.tryPromise(() => session.client.query(text))),
  reserve: (text, sql) => Effect.scoped(Effect.flatMap(sql.reserve, (session) => session.executeRaw(text, []))),
  "reserve, left by an interrupt": (text, sql) =>
    Effect.flatMap(
      Effect.fork(
        Effect.scoped(
          Effect.flatMap(sql.reserve, (session) => Effect.zipRight(session.executeRaw(text, []), Effect.never))
        )
      ),
      (fiber) => Effect.zipRight(Effect.yieldNow(), Fiber.interrupt(fiber))
    ),
  "an interrupted statement": (text, sql) =>
    Effect.flatMap(Effect.fork(sql.unsafe(text)), (fiber) =>
      Effect.zipRight(Effect.yieldNow(), Fiber.interrupt(fiber))
    ),
  "a stream": (text, sql) => Stream.runDrain(sql.unsafe(text).stream),
  "a stream in a transaction, left early": (text, sql) =>
    sql.withTransaction(
      Effect.zipRight(sql.unsafe(text), Stream.runDrain(Stream.take(sql`SELECT generate_series(1, 9999)`.stream, 1)))
    ),
  "a transaction": (text, sql) => sql.withTransaction(sql.unsafe(text)),
  "a transaction in a transaction": (text, sql) => sql.withTransaction(sql.withTransaction(sql.unsafe(text))),
  "a transaction that fails": (text, sql) =>
    sql.withTransaction(Effect.zipRight(sql.unsafe(text), Effect.fail("on purpose"))),
  "a transaction that the server fails": (text, sql) =>
    sql.withTransaction(Effect.zipRight(sql.unsafe(text), sql`SELECT 1 / 0`))
}
