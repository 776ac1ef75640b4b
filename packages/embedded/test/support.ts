import { execFileSync } from "node:child_process"
import * as NodeFs from "node:fs"
import * as NodeOs from "node:os"
import * as NodePath from "node:path"
import { Effect, Redacted, Schedule } from "effect"
import pg from "pg"

/** Runs one statement on a connection of its own; fails with the driver's error. */
export const query = (
  url: Redacted.Redacted<string>,
  sql: string,
  overrides: pg.ClientConfig = {}
): Effect.Effect<ReadonlyArray<Record<string, unknown>>, Error & { readonly code?: string }> =>
  Effect.tryPromise({
    try: async () => {
      const { hostname, password, pathname, port, username } = new URL(Redacted.value(url))
      const client = new pg.Client({
        host: hostname,
        port: Number(port),
        user: decodeURIComponent(username),
        password: decodeURIComponent(password),
        database: decodeURIComponent(pathname.slice(1)),
        ...overrides
      })
      client.on("error", () => {})
      await client.connect()
      try {
        return (await client.query(sql)).rows
      } finally {
        await client.end()
      }
    },
    catch: (cause) => cause as Error
  })

/** Waits for a condition, at most ten seconds. */
export const until = (what: string, condition: () => boolean): Effect.Effect<void> =>
  Effect.sync(condition).pipe(
    Effect.repeat({ until: (met) => met, schedule: Schedule.spaced("10 millis") }),
    Effect.timeoutFail({ duration: "10 seconds", onTimeout: () => new Error(`waited in vain until ${what}`) }),
    Effect.orDie
  )

const processes = (): ReadonlyArray<string> =>
  execFileSync("ps", ["-A", "-o", "stat=,pid=,pgid=,args="], { encoding: "utf8" })
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => !line.startsWith("Z"))

/** Whether there is a process with this id. */
export const isRunning = (pid: number): boolean => processes().some((line) => Number(line.split(/\s+/)[1]) === pid)

/** The processes whose command line names the path. */
export const processesAt = (path: string): ReadonlyArray<string> => processes().filter((line) => line.includes(path))

/** The processes of the groups that the given ones lead or are in. */
export const processesWith = (lines: ReadonlyArray<string>): ReadonlyArray<string> => {
  const group = (line: string) => line.split(/\s+/)[2]
  const groups = new Set(lines.map(group))
  return processes().filter((line) => groups.has(group(line)))
}

/** A folder that any account can enter and write, removed at the end. */
export const openFolder = Effect.acquireRelease(
  Effect.sync(() => {
    const path = NodeFs.mkdtempSync(NodePath.join(NodeOs.tmpdir(), "embedded-test-"))
    NodeFs.chmodSync(path, 0o777)
    return path
  }),
  (path) => Effect.sync(() => NodeFs.rmSync(path, { recursive: true, force: true }))
)

/** A folder that is the system's temporary one until the end. */
export const temporaryFolders = Effect.flatMap(openFolder, (path) =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const before = process.env.TMPDIR
      process.env.TMPDIR = path
      return { path, before }
    }),
    ({ before }) =>
      Effect.sync(() => {
        if (before === undefined) delete process.env.TMPDIR
        else process.env.TMPDIR = before
      })
  ).pipe(
    Effect.map(({ path }) => ({
      path,
      /** The servers' folders in it. */
      list: () => NodeFs.readdirSync(path).filter((name) => /^checkpool-embedded-\w{6}$/.test(name))
    }))
  )
)
