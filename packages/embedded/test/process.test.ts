import { type ChildProcess, spawn } from "node:child_process"
import { once } from "node:events"
import * as NodeFs from "node:fs"
import * as NodePath from "node:path"
import { createInterface } from "node:readline"
import { fileURLToPath } from "node:url"
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { openFolder, processesAt, processesWith, temporaryFolders, until } from "./support.ts"

const program = fileURLToPath(new URL("./fixtures/server.mjs", import.meta.url))

// In a process group of its own, as a terminal would start it.
const started = (dataDir?: string) =>
  Effect.acquireRelease(
    Effect.sync(() =>
      spawn(process.execPath, [program, ...(dataDir === undefined ? [] : [dataDir])], {
        detached: true,
        stdio: ["ignore", "pipe", "inherit"]
      })
    ),
    (child) => Effect.sync(() => child.kill("SIGKILL"))
  )

const ready = (child: ChildProcess) =>
  Effect.promise(async (): Promise<{ dataDir: string; pid: number }> => {
    const [line] = await once(createInterface(child.stdout!), "line")
    return JSON.parse(line)
  })

describe("A program with an embedded server", () => {
  it.scopedLive("stops it in order on Ctrl-C", () =>
    Effect.gen(function* () {
      const folder = NodePath.join(yield* openFolder, "data")
      const child = yield* started(folder)
      const { dataDir } = yield* ready(child)
      // Ctrl-C signals the whole group of the foreground.
      process.kill(-child.pid!, "SIGINT")
      yield* Effect.promise(() => once(child, "exit"))
      const log = NodeFs.readFileSync(NodePath.join(dataDir, "server.log"), "utf8")
      assert.strictEqual(log.match(/received fast shutdown request/g)?.length, 1)
      assert.match(log, /database system is shut down\s*$/)
      yield* until("all processes are gone", () => processesAt(dataDir).length === 0)
    })
  )

  it.scopedLive("leaves nothing when it is killed", () =>
    Effect.gen(function* () {
      const temporary = yield* temporaryFolders
      const child = yield* started()
      const { dataDir } = yield* ready(child)
      assert.deepStrictEqual(temporary.list(), [NodePath.basename(dataDir)])
      child.kill("SIGKILL")
      yield* until("the folder is gone", () => temporary.list().length === 0)
      yield* until("all processes are gone", () => processesAt(temporary.path).length === 0)
    })
  )

  it.scopedLive("leaves nothing when it is killed during the initialisation", () =>
    Effect.gen(function* () {
      const temporary = yield* temporaryFolders
      const child = yield* started()
      const initdb = () => processesAt(temporary.path).filter((line) => line.includes("/initdb"))
      yield* until("it runs, with the guard and a child", () => processesWith(initdb()).length > 2)
      const before = processesWith(initdb())
      child.kill("SIGKILL")
      yield* until("the folder is gone", () => temporary.list().length === 0)
      yield* until("all processes are gone", () => processesWith(before).length === 0)
    })
  )

  it.scopedLive("can be started again on its folder right after it was killed", () =>
    Effect.gen(function* () {
      const folder = NodePath.join(yield* openFolder, "data")
      const first = yield* started(folder)
      yield* ready(first)
      first.kill("SIGKILL")
      const second = yield* started(folder)
      yield* ready(second)
      second.kill("SIGKILL")
      yield* until("all processes are gone", () => processesAt(folder).length === 0)
    })
  )
})
