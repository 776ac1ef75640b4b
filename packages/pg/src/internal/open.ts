/**
 * Opening a connection: what the driver is given, the password, and what is said when it fails.
 */
import { SqlError } from "@effect/sql/SqlError"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import * as Pg from "pg"
import type { PgConnection, StatementTimer } from "../PgConnection.ts"
import { ReadOnlyServer } from "../PgError.ts"
import type { PgPoolConfig } from "../PgPoolConfig.ts"
import { defaults } from "../PgPoolConfig.ts"
import * as SqlState from "../SqlState.ts"
import { limitOf, toSetting } from "./commandTimeout.ts"
import { Connection } from "./connection.ts"
import * as Driver from "./driver.ts"
import { Session } from "./session.ts"

/** @internal */
export const open = (
  config: PgPoolConfig,
  timer?: StatementTimer
): Effect.Effect<PgConnection, SqlError, Scope.Scope> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.gen(function* () {
      const client = yield* makeClient(config, yield* restore(askPassword(config.password)))
      const connection = new Connection(new Session(client, config, timer))
      yield* Effect.addFinalizer(() => connection.close)
      yield* Effect.mapError(restore(Driver.connect(client)), (cause) => connectError(client, cause))
      if (config.targetSessionAttrs === "read-write") yield* restore(refuseReadOnly(client, connection))
      yield* restore(connection.settleIn)
      return connection
    })
  )

/**
 * A client that is not connected yet. Reading the configuration is what can fail here: a URL that is none, say.
 *
 * @internal
 */
export const makeClient = (config: PgPoolConfig, password?: Redacted.Redacted): Effect.Effect<Pg.Client, SqlError> =>
  Effect.try({
    try: () => {
      const client = new Pg.Client(toClientConfig(config))
      // Set here, since in `pg` a URL wins also with the password that it does not have.
      if (password !== undefined && !hasPassword(config.url)) client.password = Redacted.value(password)
      return client
    },
    catch: () =>
      // Neither the URL nor the driver's error, which may quote it: there is a password in it.
      new SqlError({
        cause: new Error("The connection options can't be read"),
        message:
          "PgPool: the connection options can't be read. A URL has to look like " +
          "postgres://user:password@host:5432/database, with special characters percent-encoded"
      })
  })

const toClientConfig = (config: PgPoolConfig): Pg.ClientConfig => ({
  ...given("connectionString", config.url && Redacted.value(config.url)),
  ...given("host", config.path ?? config.host),
  ...given("port", config.port),
  ...given("database", config.database),
  ...given("user", config.username),
  ...given("ssl", config.ssl),
  ...given("stream", config.stream),
  ...given("types", config.types),
  application_name: config.applicationName ?? defaults.applicationName,
  keepAlive: true,
  keepAliveInitialDelayMillis: Duration.toMillis(config.keepAlive ?? defaults.keepAlive),
  // A pooler refuses to start up with a setting that it does not know.
  ...(config.pooler === undefined ? { statement_timeout: toSetting(limitOf(config)) } : {})
})

const given = <K extends string, V>(key: K, value: V | undefined) =>
  value === undefined ? {} : ({ [key]: value } as { readonly [_ in K]: V })

const hasPassword = (url: Redacted.Redacted | undefined): boolean =>
  url !== undefined && /^\w+:\/\/[^/?#@]*:[^/?#@]+@|[?&]password=/.test(Redacted.value(url))

const askPassword = (password: PgPoolConfig["password"]): Effect.Effect<Redacted.Redacted | undefined, SqlError> =>
  Effect.isEffect(password)
    ? Effect.mapError(
        password,
        (cause) => new SqlError({ cause, message: "PgPool: asking for the password of a new connection failed" })
      )
    : Effect.succeed(password)

const refuseReadOnly = ({ host, port }: Pg.Client, connection: Connection): Effect.Effect<void, SqlError> =>
  Effect.flatMap(connection.executeValues("SHOW transaction_read_only", []), ([row]) => {
    if (row?.[0] === "off") return Effect.void
    const cause = new ReadOnlyServer({ host, port })
    return Effect.fail(new SqlError({ cause, message: cause.message }))
  })

const connectError = (client: Pg.Client, cause: Error): SqlError => {
  const sqlState = SqlState.of(cause)
  const why = cause.message === "" && "code" in cause ? String(cause.code) : cause.message
  return new SqlError({
    cause,
    message:
      `PgPool: failed to connect to ${client.host}:${client.port}, database "${client.database}", ` +
      `as user "${client.user}": ${why}${sqlState === undefined ? "" : ` (SQLSTATE ${sqlState})`}${hint(why)}`
  })
}

const hint = (why: string): string =>
  /unsupported startup parameter/.test(why) ? '. Is there a pooler in between? Then say so: pooler: "transaction"' : ""
