/**
 * A long import that is killed, and goes on where it was:
 *
 *     npx tsc -b examples && node examples/dist/import/main.js [--url postgres://user:password@host:5432/database]
 *
 * It starts itself twice as a process of its own, and kills the first one with SIGKILL.
 */
import { spawn } from "node:child_process"
import { createInterface } from "node:readline"
import { fileURLToPath } from "node:url"
import { parseArgs } from "node:util"
import { SqlCheckpointer } from "@checkpool/checkpoint"
import { EmbeddedPostgres } from "@checkpool/embedded"
import { PgPool } from "@checkpool/pg"
import { SqlClient } from "@effect/sql"
import { Effect, Layer, Option, Redacted } from "effect"
import { importLines, source } from "./lines.ts"

const program = fileURLToPath(import.meta.url)

/** What both processes stand on; all of it is in this schema. */
const live = (url: Redacted.Redacted, schema: string) =>
  SqlCheckpointer.layer({ schema }).pipe(
    Layer.provideMerge(PgPool.layer({ url, minConnections: 0, maxConnections: 2 }))
  )

/** Imports in a process of its own, and tells what that says; kills it when it has said so. */
const importer = (url: Redacted.Redacted, schema: string, name: string, killAt?: string) =>
  Effect.promise(async () => {
    const env = { ...process.env, CHECKPOOL_IMPORT: JSON.stringify([Redacted.value(url), schema]) }
    const child = spawn(process.execPath, [program], { env, stdio: ["ignore", "pipe", "inherit"] })
    const exited = new Promise<number | null>((resolve) => child.on("close", resolve))
    const lines: Array<string> = []
    for await (const line of createInterface({ input: child.stdout })) {
      lines.push(line)
      if (line === killAt) child.kill("SIGKILL")
    }
    const code = await exited
    if (killAt === undefined && code !== 0) throw new Error(`the import ended with ${code}`)
    console.log(`${name} process: ${lines[0]}, ${lines.at(-1)}${killAt === undefined ? "" : "; killed"}`)
  })

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
      console.log(
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
  const { values } = parseArgs({ options: { url: { type: "string" } } })
  const url = Option.fromNullable(values.url)
  return yield* Option.isSome(url)
    ? show(Redacted.make(url.value))
    : Effect.scoped(Effect.flatMap(EmbeddedPostgres.make(), ({ url }) => show(url)))
})

Effect.runPromise(main).catch((error) => {
  console.error(error)
  process.exitCode = 1
})
