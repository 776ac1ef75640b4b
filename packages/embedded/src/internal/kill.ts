/**
 * The end of a process and its children without notice.
 */
import { execFileSync } from "node:child_process"
import * as NodeFs from "node:fs"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import type * as GuardedProcess from "./guardedProcess.ts"

/** Kills the process and its children, none of which gets a chance to write anything, and waits until they are gone. */
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
