/**
 * A long import that is killed, and goes on where it was:
 *
 *     npx tsc -b examples && node examples/dist/import/main.js [--url postgres://user:password@host:5432/database]
 *
 * It starts itself twice as a process of its own, and kills the first one with SIGKILL.
 */
import { fileURLToPath } from "node:url"
import { parseArgs } from "node:util"
import { SqlCheckpointer } from "@checkpool/checkpoint"
import { EmbeddedPostgres } from "@checkpool/embedded"
import { PgPool } from "@checkpool/pg"
import { NodeRuntime } from "@effect/platform-node"
import { SqlClient } from "@effect/sql"
import { Console, Effect, Layer, Redacted } from "effect"
import * as Worker from "../worker.ts"
import { importLines, source } from "./lines.ts"

const program = fileURLToPath(import.meta.url)

/** What both processes stand on; all of it is in this schema. */
const live = (url: Redacted.Redacted, schema: string) =>
  SqlCheckpointer.layer({ schema }).pipe(
    Layer.provideMerge(PgPool.layer({ url, minConnections: 0, maxConnections: 2 }))
  )

/** Imports in a process of its own, and tells what that says; kills it when it has said so. */
const importer = (url: Redacted.Redacted, schema: string, name: string, killAt?: string) =>
  Effect.flatMap(
    Effect.promise((signal) =>
      Worker.run(program, { env: { CHECKPOOL_IMPORT: JSON.stringify([Redacted.value(url), schema]) }, killAt, signal })
    ),
    (lines) => Console.log(`${name} process: ${lines[0]}, ${lines.at(-1)}${killAt === undefined ? "" : "; killed"}`)
  )

const show = (url: Redacted.Redacted) =>
  Effect.gen(function* () {
    const schema = `checkpool_import_${Math.floor(Math.random() * 2 ** 32).toString(16)}`
    yield* Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      yield* sql`CREATE TABLE ${sql(`${schema}.lines`)} (n INT PRIMARY KEY, line TEXT)`
      yield* importer(url, schema, "first", "sent up to line 2000")
      yield* importer(url, schema, "second")
      const stored = yield* sql<{ line: string }>`SELECT line FROM ${sql(`${schema}.lines`)} ORDER BY n`
      const equal = stored.length === source.length && stored.every(({ line }, i) => line === source[i])
      yield* Console.log(
        `The table has ${stored.length} lines: ${equal ? "each line of the file, once" : "not those of the file"}.`
      )
    }).pipe(
      Effect.ensuring(
        Effect.orDie(Effect.flatMap(SqlClient.SqlClient, (sql) => sql`DROP SCHEMA ${sql(schema)} CASCADE`))
      ),
      Effect.provide(live(url, schema))
    )
  })

const given = process.env.CHECKPOOL_IMPORT
const main = Effect.gen(function* () {
  if (given !== undefined) {
    const [url, schema] = JSON.parse(given) as [url: string, schema: string]
    return yield* Effect.provide(importLines(`${schema}.lines`), live(Redacted.make(url), schema))
  }
  const { values } = yield* Effect.try({
    try: () => parseArgs({ options: { url: { type: "string" } } }),
    catch: () => new Error("Usage: main.js [--url postgres://user:password@host:5432/database]")
  })
  return yield* values.url !== undefined
    ? show(Redacted.make(values.url))
    : Effect.scoped(Effect.flatMap(EmbeddedPostgres.make(), ({ url }) => show(url)))
})

// Ctrl-C ends it in order: the schema is dropped, and the server stopped.
NodeRuntime.runMain(main)
