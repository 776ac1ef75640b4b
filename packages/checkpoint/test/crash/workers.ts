/**
 * Programs in other processes that go on until they are killed, and a server that may be killed under them.
 */
import { type ChildProcess, spawn } from "node:child_process"
import { once } from "node:events"
import * as NodeFs from "node:fs"
import * as NodeOs from "node:os"
import * as NodePath from "node:path"
import { fileURLToPath } from "node:url"
import type { EmbeddedPostgres } from "@checkpool/embedded"
import { Effect, Redacted, Schedule } from "effect"
import type { Random } from "../lanes/random.ts"
import * as Ledger from "./ledger.ts"

/** How many rounds, and which: drawn at random unless the environment says so. */
export const settings = (rounds: number) => ({
  rounds: Number(process.env.CRASH_ROUNDS ?? rounds),
  seed: Number(process.env.CRASH_SEED ?? Math.floor(performance.now() * 1000) % 1_000_000)
})

export interface Worker {
  readonly process: ChildProcess
  /** The file in which it notes what it was told to be done. */
  readonly ledger: string
}

export const folder = Effect.acquireRelease(
  Effect.sync(() => NodeFs.mkdtempSync(NodePath.join(NodeOs.tmpdir(), "crash-"))),
  (path) => Effect.sync(() => NodeFs.rmSync(path, { recursive: true }))
)

/** Starts a program of `fixtures`; it is killed at the latest when the scope closes. */
export const start = (
  program: string,
  server: EmbeddedPostgres.Service,
  ledger: string,
  round: string,
  env: Readonly<Record<string, string>>
) =>
  Effect.acquireRelease(
    Effect.sync((): Worker => {
      NodeFs.writeFileSync(ledger, "")
      const url = Redacted.value(server.url)
      const process_ = spawn(process.execPath, [fileURLToPath(new URL(`../fixtures/${program}`, import.meta.url))], {
        env: { ...process.env, ...env, CRASH_LEDGER: ledger, CRASH_ROUND: round, CRASH_URL: url },
        stdio: ["pipe", "ignore", "inherit"]
      })
      return { process: process_, ledger }
    }),
    (worker) => kill([worker])
  )

export const kill = (workers: ReadonlyArray<Worker>) =>
  Effect.promise(async () => {
    const alive = workers.filter(({ process }) => process.exitCode === null && process.signalCode === null)
    const gone = alive.map(({ process }) => once(process, "exit"))
    for (const { process } of alive) process.kill("SIGKILL")
    await Promise.all(gone)
  })

/** Until each of them was told that more is done, of each of these kinds, or of any kind. */
export const progress = (workers: ReadonlyArray<Worker>, kinds: ReadonlyArray<Ledger.Kind> = []) => {
  const isMore = workers.map(({ ledger, process }) => {
    const before = Ledger.read(ledger).length
    return () => {
      if (process.exitCode !== null) throw new Error("a worker has ended by itself")
      const more = Ledger.read(ledger).slice(before)
      return more.length > 0 && kinds.every((kind) => more.some((line) => line.kind === kind))
    }
  })
  return Effect.sync(() => isMore.every((isMore) => isMore())).pipe(
    Effect.repeat({ until: (more) => more, schedule: Schedule.spaced("2 millis") }),
    Effect.timeoutFail({ duration: "40 seconds", onTimeout: () => new Error(`the workers get nowhere: ${kinds}`) })
  )
}

const ways = ["server", "workers", "server first", "workers first", "server, and again"] as const

/** Kills them all, in one of many ways; where they go on in between they have to make `progress`. */
export const crash = (
  random: Random,
  server: EmbeddedPostgres.Service,
  workers: ReadonlyArray<Worker>,
  kinds?: ReadonlyArray<Ledger.Kind>
): Effect.Effect<void, unknown> => {
  const moment = (most: number) => Effect.sleep(random.between(0, most))
  const goOn = Effect.suspend(() => progress(workers, kinds))
  switch (random.pick(workers.length > 1 ? ([...ways, "one"] as const) : ways)) {
    case "server":
      // The workers go on, with another server under them, and are killed later.
      return Effect.all([server.kill, server.start, goOn, moment(100), kill(workers), server.kill])
    case "workers":
      return kill(workers)
    case "server first":
      return Effect.all([server.kill, moment(30), kill(workers)])
    case "workers first":
      return Effect.all([kill(workers), moment(5), server.kill])
    case "server, and again":
      // In the middle of the recovery, or right after it.
      return Effect.all([
        server.kill,
        Effect.raceFirst(server.start, moment(300)),
        server.kill,
        moment(30),
        kill(workers)
      ])
    case "one": {
      // The others have to do without it.
      const [first, ...others] = workers
      return Effect.all([
        kill([first!]),
        Effect.suspend(() => progress(others, kinds)),
        moment(100),
        kill(others),
        server.kill
      ])
    }
  }
}
