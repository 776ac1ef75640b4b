/**
 * What the cores do while nobody needs them.
 *
 * A virtual machine's core that sleeps takes some 25 µs to wake up, twice in each round trip to a server near by: as long as
 * the round trip itself. Whoever is measured alone waits for that, and it says nothing about what is measured.
 */
import { type ChildProcess, spawn } from "node:child_process"
import { availableParallelism } from "node:os"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"

/** Says that it runs, and ends by itself when its parent has gone. */
const program = `require("node:fs").writeSync(1, "runs")
const parent = process.ppid
while (process.ppid === parent) for (const end = performance.now() + 100; performance.now() < end; ) {}`

const start = Effect.async<ChildProcess | undefined>((resume) => {
  const child = spawn("chrt", ["--idle", "0", process.execPath, "-e", program], { stdio: ["ignore", "pipe", "ignore"] })
  child.stdout.once("data", () => resume(Effect.succeed(child)))
  // There is no such command, or it is not allowed here.
  for (const end of ["error", "exit"]) child.once(end, () => resume(Effect.succeed(undefined)))
})

const idler = Effect.acquireRelease(start, (child) => Effect.sync(() => child?.kill("SIGKILL")))

/**
 * Keeps the cores from sleeping until the scope closes, with processes that run only where nobody else wants to. `false`
 * where the system has no such processes (other than Linux with util-linux).
 *
 * Not for what waits for a disk: it has to wait for these then.
 */
export const keepAwake: Effect.Effect<boolean, never, Scope.Scope> = Effect.map(
  Effect.all(Array.from({ length: availableParallelism() }, () => idler)),
  (children) => children.every((child) => child !== undefined)
)
