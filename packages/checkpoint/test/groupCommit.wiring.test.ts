/** What group commit asks of the lanes for each operation, without a server. */
import { CheckpointError } from "@checkpool/checkpoint"
import type { SqlClient } from "@effect/sql"
import { SqlError } from "@effect/sql/SqlError"
import { describe, expect, it } from "@effect/vitest"
import { Effect, Fiber, TestClock } from "effect"
import * as GroupCommit from "../src/internal/groupCommit.ts"
import * as Batch from "../src/internal/lanes/batch.ts"
import * as Hold from "../src/internal/lease/hold.ts"
import * as SqlLeases from "../src/internal/lease/sql.ts"
import * as SqlLife from "../src/internal/life/sql.ts"
import type { PutRows } from "../src/internal/rows.ts"
import type { Statements } from "../src/internal/statements.ts"

const options = {
  maxInFlight: 3,
  maxBatch: 16,
  maxBatchBytes: 1_000_000,
  maxQueued: 100,
  maxQueuedBytes: 1_000_000,
  timeout: "10 seconds",
  grace: 0
} as const

const rows = (threadId: string): PutRows => ({
  checkpoint: { threadId, namespace: "", checkpointId: "1", parentId: null, checkpoint: "{}", metadata: "{}" },
  blobs: []
})
const row = { taskId: "t", taskPath: "", idx: 0, channel: "c", type: "json", blob: Buffer.from("1") }
const writesRows = (threadId: string) => ({ key: { threadId, namespace: "", checkpointId: "1" }, rows: [row] })

/** A server that loses the connection under the first statement of each kind. */
const losing = () => {
  const sent: Array<string> = []
  const lost = new SqlError({ cause: Object.assign(new Error("read ECONNRESET"), { code: "ECONNRESET" }) })
  const send = (name: string) => () =>
    Effect.suspend(() => (sent.push(name) && sent.filter((each) => each === name).length > 1 ? Effect.void : lost))
  const statements: Statements = {
    put: send("put"),
    putWrites: send("putWrites"),
    batch: send("batch"),
    deleteThread: send("deleteThread")
  }
  return { sent, statements }
}

describe("after a lost connection, when nobody knows whether it was done,", () => {
  it.scoped("puts, writes and commits are done again, because the same over itself changes nothing", () =>
    Effect.gen(function* () {
      const { sent, statements } = losing()
      const writer = yield* GroupCommit.make(statements, options)
      for (const operation of [
        writer.write(Batch.put(rows("a"))),
        writer.write(Batch.writes(writesRows("a"))),
        writer.write(Batch.commit({ put: rows("a"), writes: [writesRows("a")] }))
      ]) {
        const caller = yield* Effect.fork(operation)
        yield* TestClock.adjust("1 seconds")
        yield* Fiber.join(caller)
      }
      expect(sent).toEqual(["put", "put", "putWrites", "putWrites", "batch", "batch"])
    })
  )

  it.scoped("so are those under a lease, which is looked at again", () =>
    Effect.gen(function* () {
      const { sent, statements } = losing()
      const leases: SqlLeases.SqlLeases = {
        take: () => Effect.succeed({ _tag: "Taken", token: 7 }),
        renew: () => Effect.succeed(true),
        release: () => Effect.void,
        check: () => Effect.void
      }
      const claims: Array<string | undefined> = []
      const noting: Statements = {
        ...statements,
        batch: (batch, claim) =>
          Effect.suspend(() => {
            claims.push(claim)
            return statements.batch(batch, claim)
          })
      }
      const { put } = SqlLeases.fencing(yield* GroupCommit.make(noting, options), noting, leases)
      const { withThreadLock } = Hold.toService(leases)
      const caller = yield* Effect.fork(withThreadLock("a", put(rows("a"))))
      yield* TestClock.adjust("1 seconds")
      yield* Fiber.join(caller)
      expect(sent).toEqual(["batch", "batch"])
      expect(new Set(claims).size).toBe(1)
      expect(claims[0]).toMatch(/^[0-9a-f-]{36}$/)
    })
  )

  it.scoped("a task that is alone for its thread is done again only if it says so", () =>
    Effect.gen(function* () {
      const { sent, statements } = losing()
      const writer = yield* GroupCommit.make(statements, options)
      const task = (threadId: string, repeatable: boolean) =>
        writer.exclusively({ name: "deleteThread", threadId, repeatable }, statements.deleteThread(threadId))
      const refused = yield* Effect.fork(Effect.flip(task("a", false)))
      yield* TestClock.adjust("1 seconds")
      const error = yield* Fiber.join(refused)
      expect(error).toBeInstanceOf(CheckpointError.CheckpointerError)
      expect(error).toMatchObject({ operation: "deleteThread" })
      expect(error.message).toContain("ECONNRESET")
      expect(sent).toEqual(["deleteThread"])
      sent.length = 0
      const repeated = yield* Effect.fork(task("b", true))
      yield* TestClock.adjust("1 seconds")
      yield* Fiber.join(repeated)
      expect(sent).toEqual(["deleteThread", "deleteThread"])
    })
  )
})

it.effect("a deletion says that it must not be done again: others may have begun the thread anew", () =>
  Effect.gen(function* () {
    const tasks: Array<unknown> = []
    const exclusively = ((task: unknown) => Effect.sync(() => tasks.push(task))) as unknown as GroupCommit.Exclusively
    const silent = { unsafe: () => Effect.void, withTransaction: () => Effect.void } as unknown as SqlClient.SqlClient
    const { deleteThread } = SqlLife.make(
      silent,
      "public",
      losing().statements,
      exclusively,
      SqlLeases.make(silent, "public"),
      true
    )
    yield* deleteThread("a")
    expect(tasks).toEqual([{ name: "deleteThread", threadId: "a", repeatable: false }])
  })
)
