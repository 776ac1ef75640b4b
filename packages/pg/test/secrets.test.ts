import { inspect } from "node:util"
import { EmbeddedPostgres } from "@checkpool/embedded"
import { PgPool, type PgPoolConfig } from "@checkpool/pg"
import { SqlClient } from "@effect/sql"
import { expect, layer } from "@effect/vitest"
import {
  Cause,
  Context,
  Effect,
  Exit,
  Inspectable,
  Layer,
  Logger,
  LogLevel,
  Option,
  Redacted,
  Stream,
  Tracer
} from "effect"
import { ServerLive } from "./server.ts"

/** Everything that can be seen of values: printed, inspected with what is hidden, and as JSON. */
class Seen {
  text = ""

  look(...values: ReadonlyArray<unknown>): void {
    for (const value of values) {
      this.text += `${String(value)}\n${inspect(value, { depth: 12, showHidden: true })}\n`
      this.text += `${Inspectable.stringifyCircular(value)}\n${Inspectable.toStringUnknown(value)}\n`
      if (value instanceof Error) this.text += `${value.message}\n${value.stack}\n`
    }
  }

  readonly tracer = Tracer.make({
    context: (f) => f(),
    span: (name, parent, context, links, startTime, kind) => {
      const attributes = new Map<string, unknown>()
      return {
        _tag: "Span",
        spanId: name,
        traceId: "trace",
        sampled: true,
        name,
        kind,
        parent,
        context,
        links: [...links],
        attributes,
        status: { _tag: "Started", startTime },
        attribute: (key, value) => void attributes.set(key, value),
        event: (name, _at, attributes) => this.look(name, attributes),
        addLinks: () => {},
        end: (_endTime, exit) => this.look(attributes, exit)
      }
    }
  })

  readonly logger = Logger.replace(
    Logger.defaultLogger,
    Logger.make((options) =>
      this.look(options.message, options.cause, Cause.pretty(options.cause), options.annotations)
    )
  )
}

layer(ServerLive, { excludeTestServices: true, timeout: "60 seconds" })("secrets", (it) => {
  it.scoped("are not in errors, logs, spans, events, statistics, nor in anything else that can be printed", () =>
    Effect.gen(function* () {
      const server = yield* EmbeddedPostgres.EmbeddedPostgres
      const password = Redacted.value(server.password)
      const wrong = "wr0ng/p@ss:word"
      const seen = new Seen()
      const keys: Array<string> = []

      const use = (config: PgPoolConfig.PgPoolConfig) =>
        Effect.gen(function* () {
          const context = yield* Layer.build(
            PgPool.layer({
              minConnections: 0,
              maxConnections: 1,
              acquireTimeout: "30 millis",
              connectTimeout: "1 second",
              ...config,
              observer: { event: (event) => seen.look(event) }
            })
          )
          const pool = Context.get(context, PgPool.PgPool)
          const sql = Context.get(context, SqlClient.SqlClient)
          seen.look(pool, sql, pool.client, pool.client.config, yield* pool.stats)
          seen.look(
            yield* Effect.exit(sql`SELECT nothing`),
            yield* Effect.exit(Stream.runDrain(sql`SELECT 1/0`.stream))
          )
          seen.look(yield* Effect.exit(sql.withTransaction(sql`SELECT ${"x"}::int`)))
          yield* Effect.scoped(
            Effect.gen(function* () {
              const connection = yield* pool.get
              keys.push(String((connection.client as unknown as { secretKey: number }).secretKey))
              seen.look(connection, yield* Effect.exit(Effect.fork(sql`SELECT 1`).pipe(Effect.flatMap((f) => f.await))))
              seen.look(yield* Effect.exit(Effect.scoped(pool.get)))
            })
          )
          yield* pool.drain(0)
          seen.look(yield* Effect.exit(sql`SELECT 1`))
        }).pipe(Effect.scoped, Effect.exit)

      const address = { host: server.host, port: server.port, database: server.database, username: server.username }
      const url = (change: (url: URL) => void) => {
        const changed = new URL(Redacted.value(server.url))
        change(changed)
        return Redacted.make(changed.href)
      }
      const configs: ReadonlyArray<PgPoolConfig.PgPoolConfig> = [
        { url: server.url },
        { ...address, password: server.password },
        { ...address, password: Effect.succeed(server.password) },
        { url: url((url) => Object.assign(url, { password: wrong })) },
        { ...address, password: Redacted.make(wrong) },
        { ...address, password: Effect.succeed(Redacted.make(wrong)), start: "lazy" },
        { url: url((url) => Object.assign(url, { port: "1" })) },
        { url: url((url) => Object.assign(url, { pathname: "/nowhere" })) },
        { url: Redacted.make(`postgres://user:${wrong}@:::/`) },
        { url: server.url, ssl: true }
      ]
      const exits = yield* Effect.forEach(configs, use).pipe(
        Effect.withSpan("looked at"),
        Effect.withTracer(seen.tracer),
        Effect.provide(seen.logger),
        Logger.withMinimumLogLevel(LogLevel.All)
      )
      for (const exit of exits) {
        seen.look(exit)
        if (Exit.isFailure(exit)) seen.look(Cause.pretty(exit.cause), Option.getOrNull(Cause.failureOption(exit.cause)))
      }
      expect(exits.map(Exit.isSuccess)).toEqual(configs.map((_, i) => i < 3))

      // It has looked where there was something to see.
      expect(seen.text).toMatch(/password authentication failed/)
      expect(seen.text).toMatch(/db\.query\.text/)
      expect(seen.text).toMatch(/AcquireTimeout/)
      expect(seen.text).toMatch(/_tag: 'Opened'/)
      expect(keys.length).toBeGreaterThan(0)
      for (const secret of [password, encodeURIComponent(password), wrong, encodeURIComponent(wrong), ...keys]) {
        expect(seen.text.includes(secret), `a secret of ${secret.length} characters is seen`).toBe(false)
      }
    })
  )
})
