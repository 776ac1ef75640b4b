import { type ChildProcess, execFileSync, spawn } from "node:child_process"
import * as NodeFs from "node:fs"
import * as NodeOs from "node:os"
import * as NodePath from "node:path"
import { fileURLToPath } from "node:url"
import { Effect, Schedule } from "effect"

/** The compiled program: a plain Node runs it, as `npm start` does. `tsc -b test` makes it. */
export const main = fileURLToPath(new URL("../../examples/dist/witness/main.js", import.meta.url))

export interface Started {
  readonly child: ChildProcess
  readonly output: { out: string; err: string }
  /** The code that it ends with, -1 for a signal. */
  readonly exit: Promise<number>
}

/** Starts it in a process group of its own, as a terminal would, with this folder for temporary files. */
export const start = (args: ReadonlyArray<string>, temporary: string = NodeOs.tmpdir()) =>
  Effect.acquireRelease(
    Effect.sync((): Started => {
      const { NO_COLOR: _, ...env } = process.env
      const child = spawn(process.execPath, [main, ...args], {
        detached: true,
        stdio: ["ignore", "pipe", "pipe"],
        env: { ...env, TMPDIR: temporary }
      })
      const output = { out: "", err: "" }
      child.stdout.on("data", (chunk) => (output.out += chunk))
      child.stderr.on("data", (chunk) => (output.err += chunk))
      return { child, output, exit: new Promise((resolve) => child.on("close", (code) => resolve(code ?? -1))) }
    }),
    ({ child }) => Effect.sync(() => child.kill("SIGKILL"))
  )

/** Runs it to its end. */
export const run = (...args: ReadonlyArray<string>) =>
  Effect.scoped(
    Effect.gen(function* () {
      const began = performance.now()
      const { exit, output } = yield* start(args)
      const code = yield* Effect.promise(() => exit)
      return { ...output, code, seconds: (performance.now() - began) / 1000 }
    })
  )

/** Waits for a condition, at most 20 seconds. */
export const until = (what: string, condition: () => boolean) =>
  Effect.sync(condition).pipe(
    Effect.repeat({ until: (met) => met, schedule: Schedule.spaced("10 millis") }),
    Effect.timeoutFail({ duration: "20 seconds", onTimeout: () => new Error(`waited in vain until ${what}`) }),
    Effect.orDie
  )

/** A folder that any account can enter, as the embedded server's may be another one. */
export const temporaryFolder = Effect.acquireRelease(
  Effect.sync(() => {
    const path = NodeFs.mkdtempSync(NodePath.join(NodeOs.tmpdir(), "witness-test-"))
    NodeFs.chmodSync(path, 0o777)
    return path
  }),
  (path) => Effect.sync(() => NodeFs.rmSync(path, { recursive: true, force: true }))
)

/** The processes whose command line names the path. */
export const processesAt = (path: string): ReadonlyArray<string> =>
  execFileSync("ps", ["-A", "-o", "stat=,args="], { encoding: "utf8" })
    .split("\n")
    .filter((line) => line.includes(path) && !line.startsWith("Z"))
