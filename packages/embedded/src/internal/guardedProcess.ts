/**
 * A child process with a guard: should this process die without a word (SIGKILL, a crash, `process.exit`), the guard
 * stops the child and removes its temporary folder.
 *
 * The guard is a second, detached shell that reads from a pipe of ours: the kernel closes the pipe when we are gone,
 * whatever the way. The shell that starts the guard then becomes the child by `exec`, so there is no moment at which
 * the child runs unguarded, and the child's process id and exit are our own child's.
 */
import { type ChildProcess, spawn } from "node:child_process"
import type { Writable } from "node:stream"
import * as Deferred from "effect/Deferred"
import * as Exit from "effect/Exit"
import * as FiberId from "effect/FiberId"
import * as Account from "./account.ts"

// The inner pair of parentheses makes the guard an orphan: as a child of the postmaster it would confuse its reaper.
// `$$` is the process id of the outer shell, and so of the child. A zombie that nobody reaps counts as gone.
const script = `
remove=$1
shift
( (
  trap '' HUP INT QUIT TERM
  running=yes
  while read -r word <&3; do
    case $word in
      gone) running= ;;
      dismissed) exit 0 ;;
    esac
  done
  alive() {
    kill -0 "$$" || return 1
    [ -r "/proc/$$/stat" ] || return 0
    read -r _ _ state _ <"/proc/$$/stat"
    [ "$state" != Z ]
  }
  if [ "$running" ]; then
    for signal in INT QUIT; do
      kill -s "$signal" -- "-$$"
      i=0
      while [ "$i" -lt 100 ] && alive; do
        sleep 0.05
        i=$((i + 1))
      done
    done
    kill -s KILL "$$"
  fi
  [ -z "$remove" ] || rm -rf -- "$remove"
) </dev/null >/dev/null 2>&1 & )
exec "$@" 3<&-
`

/** How a process ended. */
export interface Ended {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  /** Set if it could not be started at all. */
  readonly cause?: unknown
}

/** A running or ended process. */
export interface GuardedProcess {
  readonly pid: number | undefined
  readonly ended: Deferred.Deferred<Ended>
  readonly isRunning: () => boolean
  /** Signals the process and its group, that is what it started and did not make a session of its own. */
  readonly signal: (signal: NodeJS.Signals) => void
  /** Sends the guard home: from now on the folder is somebody else's care. */
  readonly dismissGuard: () => void
}

/**
 * Starts a process in a session of its own, so that a terminal's Ctrl-C reaches us and not it. Synchronous: the caller
 * can note the process before anything interrupts.
 */
export const start = (options: {
  readonly command: string
  readonly args: ReadonlyArray<string>
  readonly account: Account.Account
  /** The file descriptor for its output. */
  readonly output: number
  /** What to write to its standard input. */
  readonly input?: string
  /** The folder that the guard removes if we die. */
  readonly removeOnDeath: string | undefined
}): GuardedProcess => {
  const ended = Deferred.unsafeMake<Ended>(FiberId.none)
  let running = true
  let child: ChildProcess | undefined
  let guard: Writable | undefined
  const end = (how: Ended) => {
    if (!running) return
    running = false
    guard?.write("gone\n")
    Deferred.unsafeDone(ended, Exit.succeed(how))
  }

  try {
    child = spawn("/bin/sh", ["-c", script, "sh", options.removeOnDeath ?? "", options.command, ...options.args], {
      cwd: "/",
      detached: true,
      env: Account.environment(),
      stdio: [options.input === undefined ? "ignore" : "pipe", options.output, options.output, "pipe"],
      ...(options.account && { uid: options.account.uid, gid: options.account.gid })
    })
    child.on("error", (cause) => end({ code: null, signal: null, cause }))
    child.on("exit", (code, signal) => end({ code, signal }))
    guard = child.stdio?.[3] as Writable | undefined
    // A guard or child that is gone already makes our writes fail; its exit tells the story.
    guard?.on("error", () => {})
    child.stdin?.on("error", () => {})
    child.stdin?.end(options.input)
  } catch (cause) {
    end({ code: null, signal: null, cause })
  }

  const pid = child?.pid
  return {
    pid,
    ended,
    isRunning: () => running,
    signal: (signal) => {
      if (!running || pid === undefined) return
      try {
        // The guard is in the group too. It ignores what can be ignored, and must survive the rest.
        process.kill(signal === "SIGKILL" || signal === "SIGSTOP" ? pid : -pid, signal)
      } catch {
        // it ended in between
      }
    },
    dismissGuard: () => {
      guard?.end("dismissed\n")
    }
  }
}
