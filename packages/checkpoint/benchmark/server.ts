/**
 * The server that is measured on: one of its own, or a database of its own on a given one.
 */
import { EmbeddedPostgres } from "@checkpool/embedded"
import { Clock, Effect, Redacted } from "effect"
import Pg from "pg"

export interface Server
  extends Pick<EmbeddedPostgres.Service, "url" | "host" | "port" | "username" | "password" | "database" | "version"> {}

export const make = (url: string | undefined) =>
  // pgbench opens a connection for each of its writers.
  url === undefined ? EmbeddedPostgres.make({ parameters: { max_connections: "200" } }) : onGiven(new URL(url))

const onGiven = (given: URL) =>
  Effect.gen(function* () {
    const database = `checkpool_benchmark_${yield* Clock.currentTimeMillis}`
    const version = yield* Effect.acquireRelease(
      ask(given, `CREATE DATABASE ${database}`).pipe(Effect.zipRight(ask(given, "SHOW server_version"))),
      () => Effect.orDie(ask(given, `DROP DATABASE ${database} WITH (FORCE)`))
    )
    const url = new URL(given)
    url.pathname = database
    return {
      url: Redacted.make(url.href),
      host: url.hostname,
      port: Number(url.port || 5432),
      username: decodeURIComponent(url.username),
      password: Redacted.make(decodeURIComponent(url.password)),
      database,
      version
    } satisfies Server
  })

/** The first cell of the answer. */
const ask = (url: URL, statement: string) =>
  Effect.tryPromise(async () => {
    const client = new Pg.Client({ connectionString: url.href })
    await client.connect()
    try {
      const { rows } = await client.query({ text: statement, rowMode: "array" })
      return String(rows[0]?.[0])
    } finally {
      await client.end()
    }
  })
