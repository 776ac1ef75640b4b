/**
 * The server process on a cluster: start until ready, stop in order, kill.
 */
import * as NodeFs from "node:fs"
import * as NodePath from "node:path"
import * as Deferred from "effect/Deferred"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import { EmbeddedPostgresError } from "../EmbeddedPostgresError.ts"
import type * as Account from "./account.ts"
import { loopback } from "./freePort.ts"
import * as GuardedProcess from "./guardedProcess.ts"
import { kill } from "./kill.ts"
import * as Log from "./log.ts"

/** What a server is started with. */
export interface Options {
  readonly postgres: string
  readonly cluster: string
  readonly account: Account.Account
  readonly log: Log.Log
  readonly parameters: Readonly<Record<string, string>>
  /** The folder that goes when we die. */
  readonly removeOnDeath: string | undefined
}

// The first and the eighth line of the lock file are the process id and the status, as `pg_ctl` reads them.
const lockFile = (cluster: string) => {
  try {
    const lines = NodeFs.readFileSync(NodePath.join(cluster, "postmaster.pid"), "utf8").split("\n")
    return { pid: Number(lines[0]), status: lines[7]?.trim() }
  } catch {
    return undefined
  }
}

/** Whether a server, ours or not, is about to leave the cluster. */
export const isStopping = (cluster: string): boolean => lockFile(cluster)?.status === "stopping"

/** Starts the process on a port; the caller notes it, and then waits with {@link awaitReady}. */
export const spawn = (options: Options, port: number): GuardedProcess.GuardedProcess =>
  GuardedProcess.start({
    command: options.postgres,
    args: [
      ...["-D", options.cluster],
      ...Object.entries(options.parameters).flatMap(([name, value]) => ["-c", `${name}=${value}`]),
      // Ours come last, so they win: a server of development must not be reachable from elsewhere.
      ...["-c", `listen_addresses=${loopback}`, "-c", `port=${port}`, "-c", "unix_socket_directories="]
    ],
    account: options.account,
    output: options.log.fd,
    removeOnDeath: options.removeOnDeath
  })

/** Waits until the server takes connections, or says why it doesn't. */
export const awaitReady = (
  options: Options,
  child: GuardedProcess.GuardedProcess,
  context: { readonly port: number; readonly from: number }
): Effect.Effect<void, EmbeddedPostgresError> =>
  Effect.raceFirst(
    Effect.sync(() => lockFile(options.cluster)).pipe(
      Effect.repeat({
        // A server that follows another one takes connections too, if only to read.
        until: (lock) => lock?.pid === child.pid && (lock?.status === "ready" || lock?.status === "standby"),
        schedule: Schedule.spaced("5 millis")
      }),
      Effect.asVoid
    ),
    Effect.flatMap(Deferred.await(child.ended), (ended) =>
      Effect.fail(didNotStart(Log.linesSince(options.log, context.from), context.port, ended))
    )
  )

const didNotStart = (log: ReadonlyArray<string>, port: number, ended: GuardedProcess.Ended) => {
  const reason = Log.reasonIn(log) ?? "StartFailed"
  const [what, hint] =
    reason === "PortTaken"
      ? [`The port ${port} is taken by another program.`, "Stop it, or leave out the port to get a free one."]
      : reason === "DataDirInUse"
        ? ["Another server runs on this data folder.", "Stop it, connect to it, or give another folder."]
        : reason === "IncompatibleData"
          ? ["The data folder belongs to another version of Postgres.", "Give another folder."]
          : reason === "DataDirNotWritable"
            ? ["The data folder does not belong to the account that runs the server.", "Give another folder."]
            : [
                `The server ended with ${ended.signal ?? ended.code} instead of becoming ready.`,
                "Check the parameters against the log above."
              ]
  return EmbeddedPostgresError.of({ reason, what, hint, log, cause: ended.cause })
}

/** Stops the server: in the asked way, and if it takes too long in ever ruder ones. */
export const stop = (
  child: GuardedProcess.GuardedProcess,
  mode: "fast" | "immediate",
  timeout: Duration.DurationInput
): Effect.Effect<void> =>
  Effect.gen(function* () {
    for (const signal of mode === "fast" ? (["SIGINT", "SIGQUIT"] as const) : (["SIGQUIT"] as const)) {
      child.signal(signal)
      const ended = yield* Effect.timeoutOption(Deferred.await(child.ended), timeout)
      if (ended._tag === "Some") return
    }
    yield* kill(child)
  })
