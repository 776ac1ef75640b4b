/**
 * A real Postgres server from npm as a scoped layer, for development, tests and examples.
 *
 * It listens on the loopback address alone, asks every connection for its password (SCRAM), and is gone when its scope
 * closes, or when the process dies in whatever way. It is not for production, and it has no client: connect to its
 * {@link Service.url} with the driver that you use anyway.
 *
 * Time is real here, even under a test clock: a server starts and stops when it does.
 *
 * @since 0.1.0
 */
import * as NodePath from "node:path"
import * as Clock from "effect/Clock"
import * as Config from "effect/Config"
import type * as ConfigError from "effect/ConfigError"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import { EmbeddedPostgresError } from "./EmbeddedPostgresError.ts"
import * as Account from "./internal/account.ts"
import * as Binaries from "./internal/binaries.ts"
import * as Cluster from "./internal/cluster.ts"
import * as DataDir from "./internal/dataDir.ts"
import { freePort, loopback } from "./internal/freePort.ts"
import type { GuardedProcess } from "./internal/guardedProcess.ts"
import { kill } from "./internal/kill.ts"
import * as Log from "./internal/log.ts"
import * as Server from "./internal/server.ts"

/**
 * How to stop a server: `fast` ends its sessions and writes everything down, `immediate` leaves that to the recovery of
 * the next start.
 *
 * @since 0.1.0
 * @category models
 */
export type ShutdownMode = "fast" | "immediate"

/**
 * A server that runs, and the means to disturb it.
 *
 * The address, the password and the data stay the same through all stops and starts. `start`, `stop`, `restart` and
 * `kill` queue up behind each other, and each is done when its effect is there: after `stop` the process is gone, after
 * `start` the server takes connections.
 *
 * @since 0.1.0
 * @category models
 */
export interface Service {
  /** Everything that a client needs: `postgresql://user:password@host:port/database`. */
  readonly url: Redacted.Redacted<string>
  readonly host: string
  readonly port: number
  readonly database: string
  readonly username: string
  readonly password: Redacted.Redacted<string>
  /** The folder that holds the cluster (`data`) and the log (`server.log`). */
  readonly dataDir: string
  /** The version of Postgres, for example `18.4`. */
  readonly version: string
  /** The process id of the server, which changes with each start; `undefined` while it is stopped. */
  readonly serverPid: Effect.Effect<number | undefined>
  /** Starts the server if it does not run, recovering first if it was killed. */
  readonly start: Effect.Effect<void, EmbeddedPostgresError>
  /** Stops the server if it runs; the mode is `fast` if none is given. */
  readonly stop: (mode?: ShutdownMode) => Effect.Effect<void>
  /** Stops and starts the server. */
  readonly restart: (options?: { readonly mode?: ShutdownMode }) => Effect.Effect<void, EmbeddedPostgresError>
  /** Kills the server and all its children at once, as a crash would (SIGKILL). */
  readonly kill: Effect.Effect<void>
}

/**
 * The options of a server. All of them have defaults, see {@link defaults}.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /**
   * The folder to keep the data in. Created if missing, initialised if empty, kept on close, and used again by the next
   * start. Default: a temporary folder, removed on close, since a test wants to start from nothing.
   */
  readonly dataDir?: string | undefined
  /** The TCP port. Default: a free one, so that any number of servers can run side by side. */
  readonly port?: number | undefined
  /** The user, a superuser. Default: `postgres`, as everywhere. */
  readonly username?: string | undefined
  /**
   * The user's password. Default: a random one, or for a kept folder the one that it had: it is stored in the folder,
   * readable by the server's account only, like the data itself. A password that differs from the stored one replaces it.
   */
  readonly password?: Redacted.Redacted<string> | undefined
  /** The database that the URL names, created if it is missing. Default: `postgres`, which is there anyway. */
  readonly database?: string | undefined
  /**
   * Settings of the server, by the names of `postgresql.conf`. Default: none, so those of a stock server, with durable
   * commits (`fsync`) too. `listen_addresses`, `port` and `unix_socket_directories` are ours to set and can't be given.
   */
  readonly parameters?: Readonly<Record<string, string>> | undefined
  /**
   * How long a start may take, initialisation and recovery included. Default: 60 seconds, about a hundred times what it
   * takes on an idle machine, since machines that run tests are seldom idle.
   */
  readonly startTimeout?: Duration.DurationInput | undefined
  /**
   * How long to wait for a stop before the next, ruder way is tried: `fast`, then `immediate`, then a kill. Default: 10
   * seconds, ample for the last checkpoint of a small database.
   */
  readonly stopTimeout?: Duration.DurationInput | undefined
}

/**
 * The defaults of {@link Options} that are values. The folder, the port and the password are chosen at each start.
 *
 * @since 0.1.0
 * @category models
 */
export const defaults = {
  username: "postgres",
  database: "postgres",
  parameters: {} as Readonly<Record<string, string>>,
  startTimeout: Duration.seconds(60),
  stopTimeout: Duration.seconds(10)
} as const

/**
 * The running server.
 *
 * @since 0.1.0
 * @category tags
 */
export class EmbeddedPostgres extends Context.Tag("@checkpool/embedded/EmbeddedPostgres")<
  EmbeddedPostgres,
  Service
>() {}

/**
 * Starts a server that runs as long as the scope is open.
 *
 * An interrupt during the start leaves no process and no temporary folder behind.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make: (options?: Options) => Effect.Effect<Service, EmbeddedPostgresError, Scope.Scope> = Effect.fn(
  "EmbeddedPostgres.make"
)(function* (options: Options = {}) {
  yield* validate(options)
  const username = options.username ?? defaults.username
  const database = options.database ?? defaults.database
  const startTimeout = options.startTimeout ?? defaults.startTimeout
  const stopTimeout = options.stopTimeout ?? defaults.stopTimeout
  const temporary = options.dataDir === undefined

  const account = yield* Account.choose(temporary ? "" : Cluster.clusterIn(NodePath.resolve(options.dataDir ?? "")))
  const binaries = yield* Binaries.find(account)

  // Of all processes only the newest can be running, and only its guard is on duty: until the folder is cared for.
  let newest: GuardedProcess | undefined
  const note = (child: GuardedProcess) => {
    newest?.dismissGuard()
    newest = child
  }
  yield* Effect.addFinalizer(() => Effect.sync(() => newest?.dismissGuard()))
  const dataDir = yield* DataDir.open(options.dataDir, account)
  const log = yield* DataDir.openLog(dataDir, account)
  const stop = (mode: ShutdownMode = "fast") =>
    Effect.suspend(() => (newest === undefined ? Effect.void : Server.stop(newest, mode, stopTimeout)))
  yield* Effect.addFinalizer(() => realTime(stop()))

  const serverOptions: Server.Options = {
    postgres: binaries.postgres,
    cluster: Cluster.clusterIn(dataDir),
    account,
    log,
    parameters: options.parameters ?? defaults.parameters,
    removeOnDeath: temporary ? dataDir : undefined
  }
  const startOn = (port: number) =>
    Effect.uninterruptibleMask((restore) => {
      const from = Log.mark(log)
      const child = Server.spawn(serverOptions, port)
      note(child)
      return restore(Server.awaitReady(serverOptions, child, { port, from })).pipe(
        Effect.onError(() => Server.stop(child, "fast", stopTimeout)),
        Effect.as(port)
      )
    }).pipe(
      Effect.retry({ while: isInUse, schedule: predecessorLeaves }),
      Effect.retry({ while: (error) => isInUse(error) && Server.isStopping(serverOptions.cluster) })
    )
  const inTime = <A, E>(effect: Effect.Effect<A, E>) => {
    const from = Log.mark(log)
    return Effect.timeoutFail(effect, {
      duration: startTimeout,
      onTimeout: () => startTimedOut(startTimeout, Log.linesSince(log, from))
    })
  }

  const { password, port } = yield* Effect.gen(function* () {
    const clusterOptions = { dataDir, temporary, account, binaries, log, username, database, note }
    const password = yield* Cluster.ensure({ ...clusterOptions, password: options.password })
    const port = yield* options.port === undefined
      ? Effect.flatMap(freePort, startOn).pipe(
          Effect.retry({ while: (error) => error.reason === "PortTaken", times: portTries })
        )
      : startOn(options.port)
    return { password, port }
  }).pipe(inTime, realTime)

  const turn = yield* Effect.makeSemaphore(1)
  const isRunning = () => newest?.isRunning() === true
  const start = Effect.suspend(() => (isRunning() ? Effect.void : Effect.asVoid(inTime(startOn(port)))))
  const crash = Effect.suspend(() => (newest === undefined ? Effect.void : Effect.uninterruptible(kill(newest))))
  const inTurn = <A, E>(name: string, effect: Effect.Effect<A, E>) =>
    turn
      .withPermits(1)(realTime(effect))
      .pipe(Effect.withSpan(`EmbeddedPostgres.${name}`))

  return {
    url: Redacted.make(
      `postgresql://${encodeURIComponent(username)}:${encodeURIComponent(Redacted.value(password))}@${loopback}:${port}/${encodeURIComponent(database)}`
    ),
    host: loopback,
    port,
    database,
    username,
    password,
    dataDir,
    version: binaries.version,
    serverPid: Effect.sync(() => (isRunning() ? newest?.pid : undefined)),
    start: inTurn("start", start),
    stop: (mode) => inTurn("stop", stop(mode)),
    restart: (options) => inTurn("restart", Effect.zipRight(stop(options?.mode), start)),
    kill: inTurn("kill", crash)
  } satisfies Service
})

/**
 * A layer over {@link make}. Built once and shared, it is one server; to run two, build it twice with `Layer.fresh`.
 *
 * @example
 * ```ts
 * import { Effect } from "effect"
 * import { EmbeddedPostgres } from "@checkpool/embedded"
 *
 * const program = Effect.gen(function* () {
 *   const server = yield* EmbeddedPostgres.EmbeddedPostgres
 *   yield* Effect.log(`Postgres ${server.version} listens at ${server.host}:${server.port}`)
 * })
 *
 * Effect.runPromise(Effect.provide(program, EmbeddedPostgres.layer({ parameters: { max_connections: "200" } })))
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (options?: Options): Layer.Layer<EmbeddedPostgres, EmbeddedPostgresError> =>
  Layer.scoped(EmbeddedPostgres, make(options))

/**
 * A layer whose options come from the configuration.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerConfig = (
  options: Config.Config.Wrap<Options>
): Layer.Layer<EmbeddedPostgres, EmbeddedPostgresError | ConfigError.ConfigError> =>
  Layer.scoped(EmbeddedPostgres, Effect.flatMap(Config.unwrap(options), make))

const portTries = 10

const isInUse = (error: EmbeddedPostgresError) => error.reason === "DataDirInUse"

// The guard of a program that was just killed needs a moment to stop its server.
const predecessorLeaves = Schedule.intersect(Schedule.spaced("50 millis"), Schedule.recurs(10))

const realTime = Effect.withClock(Clock.make())

const reserved = ["listen_addresses", "port", "unix_socket_directories"]

const validate = (options: Options): Effect.Effect<void, EmbeddedPostgresError> => {
  const invalid = (what: string) =>
    EmbeddedPostgresError.of({ reason: "InvalidOptions", what, hint: "Change the option, or leave it out." })
  const texts = {
    username: options.username,
    database: options.database,
    password: options.password && Redacted.value(options.password)
  }
  for (const [name, text] of Object.entries(texts)) {
    if (text === "") return invalid(`The ${name} is empty.`)
    // biome-ignore lint/suspicious/noControlCharactersInRegex: initdb and the single-user mode read lines
    if (text !== undefined && /[\0-\x1f\x7f]/.test(text)) return invalid(`The ${name} holds control characters.`)
  }
  if (options.username !== undefined && /["$'\\]/.test(options.username)) {
    return invalid(`The username holds one of the characters " $ ' \\, which initdb can't handle.`)
  }
  const taken = reserved.find((name) => options.parameters !== undefined && name in options.parameters)
  if (taken !== undefined) return invalid(`The parameter ${taken} is not free to choose.`)
  const { port } = options
  return port !== undefined && !(Number.isInteger(port) && port > 0 && port < 65_536)
    ? invalid(`The port ${port} is not a number from 1 to 65535.`)
    : Effect.void
}

const startTimedOut = (timeout: Duration.DurationInput, log: ReadonlyArray<string>) =>
  EmbeddedPostgresError.of({
    reason: "StartTimeout",
    what: `The server was not ready within ${Duration.format(timeout)}.`,
    hint: "Raise startTimeout if the machine is busy, or if a large database recovers from a crash.",
    log
  })
