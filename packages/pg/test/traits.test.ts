import { describe, expect, it } from "@effect/vitest"
import { traitsOf } from "../src/internal/traits.ts"

describe("what a statement's text says about its session", () => {
  it.each([
    "SET search_path TO other",
    "  set statement_timeout = 5",
    "SELECT 1; SET role x",
    "/* a comment */ SET x = 1",
    "-- a comment\nRESET ALL",
    "LISTEN news",
    "PREPARE q AS SELECT 1",
    "DECLARE c CURSOR WITH HOLD FOR SELECT 1",
    "CREATE TEMP TABLE t (id int)",
    "create local temporary table t (id int)",
    "CREATE OR REPLACE TEMPORARY VIEW v AS SELECT 1",
    "SELECT 1 INTO TEMP t",
    "SELECT set_config('a.b', 'c', false)",
    "SELECT pg_advisory_lock(1)",
    "SELECT pg_try_advisory_lock_shared(1)",
    "EXPLAIN ANALYZE CREATE TEMP TABLE t AS SELECT 1",
    `SELECT "set_config"('a.b', 'c', false)`,
    `SELECT pg_catalog."pg_advisory_lock" (1)`,
    `UPDATE ONLY "pg_catalog"."pg_settings" SET setting = '1' WHERE name = 'work_mem'`,
    "LOAD 'auto_explain'",
    "DO $$ BEGIN END $$",
    "CALL anything()"
  ])("%s may leave something behind", (text) => expect(traitsOf(text).dirties).toBe(true))

  it.each([
    "SELECT 1",
    "UPDATE t SET a = 1",
    "INSERT INTO t VALUES (1) ON CONFLICT (a) DO UPDATE SET a = 1",
    "SET LOCAL statement_timeout = 5",
    "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE",
    "SELECT pg_advisory_xact_lock(1)",
    "BEGIN",
    "COMMIT",
    "WITH settings AS (SELECT 1) SELECT * FROM settings",
    "CREATE TABLE temperatures (id int)",
    "CREATE INDEX ON t (a)"
  ])("%s leaves nothing behind", (text) => expect(traitsOf(text).dirties).toBe(false))

  it.each([
    "BEGIN READ ONLY",
    "start transaction isolation level serializable, read only",
    "SET TRANSACTION READ  ONLY",
    "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
    "SET default_transaction_read_only = on",
    "SELECT set_config('transaction_read_only', 'on', true)"
  ])("%s asks for reading only", (text) => expect(traitsOf(text).readOnly).toBe(true))

  it.each(["BEGIN", "SELECT 'read only'", "INSERT INTO books VALUES ('Read only memory')", "/* read only */ BEGIN"])(
    "%s does not",
    (text) => expect(traitsOf(text).readOnly).toBe(false)
  )
})
