/**
 * The server process on a cluster: start until ready, stop in order, kill.
 */
import { execFileSync } from "node:child_process"
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
const isReady = (cluster: string, pid: number | undefined) => {
  try {
    const lines = NodeFs.readFileSync(NodePath.join(cluster, "postmaster.pid"), "utf8").split("\n")
    return lines[0] === String(pid) && lines[7]?.trim() === "ready"
  } catch {
    return false
  }
}

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
    Effect.sync(() => isReady(options.cluster, child.pid)).pipe(
      Effect.repeat({ until: (ready) => ready, schedule: Schedule.spaced("5 millis") }),
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

/** Kills the server and its children, none of which gets a chance to write anything. */
export const kill = (child: GuardedProcess.GuardedProcess): Effect.Effect<void> =>
  Effect.suspend(() => {
    if (!child.isRunning() || child.pid === undefined) return Effect.void
    // Stopped first: a postmaster that sees a child die would start recovery, or new children.
    child.signal("SIGSTOP")
    const children = childrenOf(child.pid)
    for (const pid of children) sendKill(pid)
    child.signal("SIGKILL")
    return Effect.zipRight(
      Deferred.await(child.ended),
      Effect.repeat(
        Effect.sync(() => children.some(isAlive)),
        { while: (alive) => alive, schedule: Schedule.intersect(Schedule.spaced("5 millis"), Schedule.recurs(400)) }
      )
    )
  })

const sendKill = (pid: number) => {
  try {
    process.kill(pid, "SIGKILL")
  } catch {
    // it ended in between
  }
}

const statusOf = (pid: number) => {
  try {
    // "pid (name) state parent …", and the name may hold anything
    const fields = NodeFs.readFileSync(`/proc/${pid}/stat`, "utf8").split(") ").at(-1)?.split(" ")
    return { state: fields?.[0], parent: Number(fields?.[1]) }
  } catch {
    return undefined
  }
}

const hasProc = NodeFs.existsSync("/proc/self/stat")

const isAlive = (pid: number) => {
  // A killed process that its new parent has not reaped yet holds nothing any more.
  if (hasProc) return !["Z", "X", undefined].includes(statusOf(pid)?.state)
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}

const childrenOf = (parent: number): ReadonlyArray<number> =>
  hasProc
    ? NodeFs.readdirSync("/proc")
        .map(Number)
        .filter((pid) => pid > 0 && statusOf(pid)?.parent === parent)
    : execFileSync("ps", ["-A", "-o", "pid=,ppid="], { encoding: "utf8" })
        .split("\n")
        .map((line) => line.trim().split(/\s+/).map(Number))
        .flatMap(([pid, ppid]) => (pid !== undefined && ppid === parent ? [pid] : []))
