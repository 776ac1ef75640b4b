/**
 * The data folder: what lies in it, and how it becomes a database cluster.
 *
 * ```
 * <dataDir>/server.log            what initialisation and the server said
 * <dataDir>/data/                 the cluster
 * <dataDir>/data/checkpool.json   whom it lets in; as secret as the data beside it, and under the same protection
 * <dataDir>/init-…/               an initialisation under way
 * ```
 *
 * A cluster is initialised elsewhere and then renamed, so `data` is there completely or not at all.
 */
import { randomBytes } from "node:crypto"
import * as NodeFs from "node:fs"
import * as NodePath from "node:path"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import { EmbeddedPostgresError } from "../EmbeddedPostgresError.ts"
import * as Account from "./account.ts"
import type { Binaries } from "./binaries.ts"
import * as GuardedProcess from "./guardedProcess.ts"
import { kill } from "./kill.ts"
import * as Log from "./log.ts"

/** Where the server keeps its data, for a data folder. */
export const clusterIn = (dataDir: string): string => NodePath.join(dataDir, "data")

/** What is needed to make a cluster or to let us into one. */
export interface Options {
  readonly dataDir: string
  readonly temporary: boolean
  readonly account: Account.Account
  readonly binaries: Binaries
  readonly log: Log.Log
  readonly username: string
  readonly password: Redacted.Redacted<string> | undefined
  readonly database: string
  /** Notes each process that is started; its guard is the one to dismiss when all is over. */
  readonly note: (child: GuardedProcess.GuardedProcess) => void
}

class Credentials extends Schema.Class<Credentials>("Credentials")({
  username: Schema.String,
  password: Schema.Redacted(Schema.String),
  databases: Schema.Array(Schema.String)
}) {}

const CredentialsJson = Schema.parseJson(Credentials)

/**
 * Runs one of the server's programs to its end; an interrupt ends it.
 */
const run = (
  options: Options,
  what: {
    readonly command: string
    readonly args: ReadonlyArray<string>
    readonly input?: string
    readonly workFolder: string | undefined
  }
) =>
  Effect.acquireUseRelease(
    Effect.sync(() => {
      const from = Log.mark(options.log)
      const child = GuardedProcess.start({
        command: what.command,
        args: what.args,
        account: options.account,
        output: options.log.fd,
        removeOnDeath: options.temporary ? options.dataDir : what.workFolder,
        ...(what.input === undefined ? {} : { input: what.input })
      })
      options.note(child)
      return { from, child }
    }),
    ({ child, from }) =>
      Effect.map(Deferred.await(child.ended), (ended) => ({ ended, lines: Log.linesSince(options.log, from) })),
    // After an interrupt all of its work is thrown away, or recovered by the next start. The signal reaches those of its
    // children that a shell stands between.
    ({ child }) =>
      Effect.zipRight(
        Effect.sync(() => child.signal("SIGINT")),
        kill(child)
      )
  )

const initialise = (options: Options, password: Redacted.Redacted<string>) =>
  Effect.acquireUseRelease(
    Effect.sync(() => {
      const workFolder = NodeFs.mkdtempSync(NodePath.join(options.dataDir, "init-"))
      Account.give(workFolder, options.account)
      return workFolder
    }),
    (workFolder) =>
      Effect.gen(function* () {
        const cluster = NodePath.join(workFolder, "data")
        const passwordFile = NodePath.join(workFolder, "password")
        writeSecret(passwordFile, Redacted.value(password), options.account)
        const { ended, lines } = yield* run(options, {
          command: options.binaries.initdb,
          args: [
            ...["--pgdata", cluster, "--username", options.username, "--pwfile", passwordFile],
            "--auth=scram-sha-256",
            // The same on every system, whatever locales it has.
            ...["--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"],
            ...["--set=timezone=UTC", "--set=log_timezone=UTC"],
            // A temporary folder does not outlive a crash of the system, so it needs no sync of what initdb wrote. What
            // the server writes later is synced.
            ...(options.temporary ? ["--no-sync"] : [])
          ],
          workFolder
        })
        if (ended.code !== 0) {
          return yield* EmbeddedPostgresError.of({
            reason: "InitFailed",
            what: `A new database cluster in ${options.dataDir} could not be initialised: initdb ended with ${ended.signal ?? ended.code}.`,
            hint: "Look for a full or read-only disk, and for a user id without an entry in /etc/passwd.",
            log: lines,
            cause: ended.cause
          })
        }
        yield* writeCredentials(
          cluster,
          new Credentials({ username: options.username, password, databases: ["postgres"] }),
          options.account
        )
        yield* Effect.sync(() => {
          try {
            NodeFs.renameSync(cluster, clusterIn(options.dataDir))
          } catch (cause) {
            // Another starter was faster: its cluster counts.
            if (!["ENOTEMPTY", "EEXIST"].includes((cause as NodeJS.ErrnoException).code ?? "")) throw cause
          }
        })
      }),
    (workFolder) =>
      Effect.promise(() => NodeFs.promises.rm(workFolder, { recursive: true, force: true, maxRetries: 5 }))
  )

const writeSecret = (path: string, text: string, account: Account.Account) => {
  NodeFs.rmSync(path, { force: true })
  const fd = Account.openFor(path, account)
  try {
    NodeFs.writeFileSync(fd, text)
  } finally {
    NodeFs.closeSync(fd)
  }
}

const credentialsFile = (cluster: string) => NodePath.join(cluster, "checkpool.json")

const writeCredentials = (cluster: string, credentials: Credentials, account: Account.Account) =>
  Effect.map(Effect.orDie(Schema.encode(CredentialsJson)(credentials)), (json) => {
    const partial = `${credentialsFile(cluster)}.new`
    writeSecret(partial, json, account)
    NodeFs.renameSync(partial, credentialsFile(cluster))
  })

// Files that systems and people put into every folder say nothing about its purpose.
const isForeign = (entry: string) => !/^(\.|init-|server\.log$|lost\+found$)/.test(entry)

const incompatible = (what: string, hint: string, cause?: unknown) =>
  EmbeddedPostgresError.of({ reason: "IncompatibleData", what, hint, cause })

const readCredentials = (options: Options) =>
  Effect.gen(function* () {
    const cluster = clusterIn(options.dataDir)
    if (!NodeFs.existsSync(credentialsFile(cluster))) {
      return yield* incompatible(
        `${options.dataDir} is not empty, and what is in it was not created by this library.`,
        "Give an empty folder, or one that does not exist yet."
      )
    }
    const credentials = yield* Effect.try(() => NodeFs.readFileSync(credentialsFile(cluster), "utf8")).pipe(
      Effect.flatMap(Schema.decode(CredentialsJson)),
      // The cause could quote the password.
      Effect.mapError(() =>
        incompatible(`${credentialsFile(cluster)} can't be read.`, "Restore the file, or give an empty folder.")
      )
    )
    const major = NodeFs.readFileSync(NodePath.join(cluster, "PG_VERSION"), "utf8").trim()
    if (major !== options.binaries.version.split(".")[0]) {
      return yield* incompatible(
        `${options.dataDir} holds data of Postgres ${major}, and this is Postgres ${options.binaries.version}.`,
        "Dump it with the old version and restore it with the new one, or give another folder."
      )
    }
    if (credentials.username !== options.username) {
      return yield* incompatible(
        `${options.dataDir} was created for the user ${credentials.username}, not ${options.username}.`,
        "Give that username, or another folder."
      )
    }
    return credentials
  })

// Without a client there is the server's single-user mode: it takes one command a line on its standard input.
const command = (options: Options, sql: string) =>
  run(options, {
    command: options.binaries.postgres,
    // A failing statement is not logged, since it may hold the password.
    args: ["--single", "-D", clusterIn(options.dataDir), "-c", "log_min_error_statement=panic", "postgres"],
    input: `${sql}\n`,
    workFolder: undefined
  }).pipe(
    Effect.flatMap(({ ended, lines }) => {
      const failed = ended.code !== 0 || lines.some((line) => / (ERROR|FATAL|PANIC): /.test(line))
      return failed && !lines.some((line) => /ERROR: {2}database ".*" already exists/.test(line))
        ? EmbeddedPostgresError.of({
            reason: Log.reasonIn(lines) ?? "InitFailed",
            what: `The user or the database could not be set up in ${options.dataDir}.`,
            hint: "Make sure that no other server runs on this folder.",
            log: lines,
            cause: ended.cause
          })
        : Effect.void
    })
  )

const identifier = (name: string) => `"${name.replaceAll('"', '""')}"`
const literal = (text: string) => `'${text.replaceAll("'", "''")}'`

/** Makes the folder a cluster that lets us in, and gives the password. */
export const ensure = (options: Options): Effect.Effect<Redacted.Redacted<string>, EmbeddedPostgresError> =>
  Effect.gen(function* () {
    const cluster = clusterIn(options.dataDir)
    if (!NodeFs.readdirSync(options.dataDir).some(isForeign)) {
      const password = options.password ?? Redacted.make(randomBytes(24).toString("base64url"))
      yield* initialise(options, password)
    }
    const credentials = yield* readCredentials(options)
    const password = options.password ?? credentials.password
    const isNewPassword = Redacted.value(password) !== Redacted.value(credentials.password)
    if (isNewPassword) {
      yield* command(
        options,
        `ALTER ROLE ${identifier(options.username)} PASSWORD ${literal(Redacted.value(password))}`
      )
    }
    const isNewDatabase = !credentials.databases.includes(options.database)
    if (isNewDatabase) yield* command(options, `CREATE DATABASE ${identifier(options.database)}`)
    if (isNewPassword || isNewDatabase) {
      const databases = isNewDatabase ? [...credentials.databases, options.database] : credentials.databases
      yield* writeCredentials(
        cluster,
        new Credentials({ username: options.username, password, databases }),
        options.account
      )
    }
    return password
  }).pipe(
    Effect.catchSomeDefect((cause) =>
      isSystemError(cause)
        ? Option.some(
            EmbeddedPostgresError.of({
              reason: "InitFailed",
              what: `The data folder ${options.dataDir} could not be set up: ${cause.message}`,
              hint: "Look for a full or read-only disk.",
              cause
            })
          )
        : Option.none()
    )
  )

const isSystemError = (cause: unknown): cause is NodeJS.ErrnoException =>
  cause instanceof Error && "syscall" in cause && "code" in cause
