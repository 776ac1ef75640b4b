/**
 * Postgres refuses to run as root, so root lends its server an unprivileged account that the system already has.
 */
import { execFile } from "node:child_process"
import * as NodeFs from "node:fs"
import * as Effect from "effect/Effect"
import { EmbeddedPostgresError } from "../EmbeddedPostgresError.ts"

/** The account to run under; `undefined` means: the one we have. */
export type Account = { readonly uid: number; readonly gid: number; readonly name: string } | undefined

const candidates = ["postgres", "_postgres", "nobody"]

const lookUp = (name: string): Account => {
  const line = NodeFs.readFileSync("/etc/passwd", "utf8")
    .split("\n")
    .find((line) => line.startsWith(`${name}:`))
  const [, , uid, gid] = line?.split(":") ?? []
  // macOS writes the uid of `nobody` as -2
  return uid === undefined || gid === undefined ? undefined : { uid: Number(uid) >>> 0, gid: Number(gid) >>> 0, name }
}

const statOrNone = (path: string) => {
  try {
    return NodeFs.statSync(path)
  } catch {
    return undefined
  }
}

/**
 * Chooses the account. For root and an existing cluster it is the owner of that cluster, since Postgres runs on no
 * folder of somebody else.
 */
export const choose = (cluster: string): Effect.Effect<Account, EmbeddedPostgresError> =>
  Effect.suspend(() => {
    if (process.getuid?.() !== 0) return Effect.succeed(undefined)
    const owner = statOrNone(cluster)
    if (owner !== undefined && owner.uid !== 0) {
      return Effect.succeed({ uid: owner.uid, gid: owner.gid, name: `user ${owner.uid}` })
    }
    for (const name of candidates) {
      const account = lookUp(name)
      if (account !== undefined && account.uid !== 0) return Effect.succeed(account)
    }
    return Effect.fail(noAccount())
  }).pipe(Effect.catchAllDefect((cause) => Effect.fail(noAccount(cause))))

const noAccount = (cause?: unknown) =>
  EmbeddedPostgresError.of({
    reason: "UnsupportedPlatform",
    what: `Postgres refuses to run as root, and this system has none of the accounts ${candidates.join(", ")}.`,
    hint: "Run as an ordinary user, or create the account postgres.",
    cause
  })

/** Hands a file or folder to the account. */
export const give = (path: string, account: Account): void => {
  if (account !== undefined) NodeFs.lchownSync(path, account.uid, account.gid)
}

/**
 * Opens a file of the account to append to it. The account may write the folder, so what lies there can be a trap for
 * root: links are not followed, and it is the open file that changes hands.
 */
export const openFor = (path: string, account: Account): number => {
  const { O_APPEND, O_CREAT, O_NOFOLLOW, O_WRONLY } = NodeFs.constants
  const fd = NodeFs.openSync(path, O_APPEND | O_CREAT | O_NOFOLLOW | O_WRONLY, 0o600)
  if (account !== undefined) NodeFs.fchownSync(fd, account.uid, account.gid)
  return fd
}

/** The environment of what we start: nothing of ours (`PGDATA`, `PGPORT`, …) leaks in, and messages are in English. */
export const environment = (): NodeJS.ProcessEnv => ({ PATH: process.env.PATH ?? "/usr/bin:/bin", LC_ALL: "C" })

/** Runs a short shell script as the account and gives its output. */
export const runShort = (
  account: Account,
  script: string,
  args: ReadonlyArray<string>
): Effect.Effect<string, { readonly output: string; readonly cause: unknown }> =>
  Effect.async((resume) => {
    const child = execFile(
      "/bin/sh",
      ["-c", script, "sh", ...args],
      { cwd: "/", env: environment(), ...(account && { uid: account.uid, gid: account.gid }) },
      (cause, stdout, stderr) =>
        resume(cause === null ? Effect.succeed(stdout) : Effect.fail({ output: `${stdout}${stderr}`.trim(), cause }))
    )
    return Effect.sync(() => child.kill("SIGKILL"))
  })
