import { Checkpoint, Checkpointer, type ThreadLife } from "@checkpool/checkpoint"
import { expect, type Vitest } from "@effect/vitest"
import { Effect, Option } from "effect"
import { checkpoint, commit, getSome, list, listIds, put, putWrites } from "./use.ts"

const prune = (options: ThreadLife.PruneOptions) => Effect.flatMap(Checkpointer.Checkpointer, (_) => _.prune(options))

const plan = (options: ThreadLife.PruneOptions) =>
  Effect.flatMap(Checkpointer.Checkpointer, (_) => _.prunePlan(options))

/** Checkpoints that follow each other, each with a new value of `a` and all with one of `b`. */
const fill = (threadId: string, count: number, options: { readonly namespace?: string; readonly from?: string } = {}) =>
  Effect.gen(function* () {
    const { from, namespace } = options
    for (let i = 1; i <= count; i++) {
      const values = { a: `a${i}`, b: "b" }
      yield* put({
        threadId,
        namespace,
        parentId: i === 1 ? from : String(i - 1),
        checkpoint: checkpoint(String(i), {
          ts: `2026-01-0${i}T00:00:00.000Z`,
          channel_values: values,
          channel_versions: { a: i, b: 1 }
        }),
        newVersions: i === 1 ? { a: 1, b: 1 } : { a: i }
      })
      yield* putWrites({
        threadId,
        namespace,
        checkpointId: String(i),
        taskId: "t",
        writes: [{ channel: "a", value: i }]
      })
    }
  })

const nothing = { checkpoints: 0, pendingWrites: 0, values: 0, bytes: 0, waiting: 0 }

/** Histories that are thinned out. */
export const prunes = (it: Vitest.MethodsNonLive<Checkpointer.Checkpointer>) => {
  it.effect("prunes to the latest checkpoint of each namespace, whole, and to nothing more", () =>
    Effect.gen(function* () {
      const [threadId, other] = [yield* Checkpoint.makeId, yield* Checkpoint.makeId]
      yield* fill(threadId, 4)
      yield* fill(threadId, 2, { namespace: "inner" })
      yield* fill(other, 2)
      const [before, ofOther] = [yield* list({ threadId }), yield* list({ threadId: other })]
      // Of namespace "": 3 checkpoints, writes and values of 4 bytes, 1 byte and 1 byte; of "inner" one of each.
      const report = { checkpoints: 4, pendingWrites: 4, values: 4, bytes: 4 * (4 + 1), waiting: 0 }
      expect(yield* plan({ threadId })).toEqual(report)
      expect(yield* list({ threadId })).toEqual(before)
      expect(yield* prune({ threadId, grace: 0, batchSize: 2 })).toEqual(report)
      expect(yield* list({ threadId })).toEqual(
        before
          .filter(({ key }) => key.checkpointId === (key.namespace === "" ? "4" : "2"))
          .map((each) => ({ ...each, parentId: Option.none() }))
      )
      expect(yield* prune({ threadId, grace: 0 })).toEqual(nothing)
      expect(yield* list({ threadId: other })).toEqual(ofOther)
      expect(yield* prune({ threadId: yield* Checkpoint.makeId, grace: 0 })).toEqual(nothing)
      expect(yield* Effect.flip(prune({ threadId: "" }))).toMatchObject({ field: "threadId", reason: "Empty" })
      expect(yield* Effect.flip(plan({ threadId, deltaChannels: ["\0"] }))).toMatchObject({ field: "channel" })
    })
  )

  it.effect("prunes by number and by age, and keeps what either of them keeps", () =>
    Effect.gen(function* () {
      const threadId = yield* Checkpoint.makeId
      const now = Date.UTC(2026, 0, 6)
      // All before the 4th, then all before the 5th but the last three.
      yield* fill(threadId, 6)
      const at = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
        Effect.flatMap(Effect.clock, (clock) =>
          Effect.withClock(effect, Object.assign(Object.create(clock), { currentTimeMillis: Effect.succeed(now) }))
        )
      yield* at(prune({ threadId, olderThan: "2 days" }))
      expect(yield* listIds({ threadId })).toEqual(["6", "5", "4"])
      yield* at(prune({ threadId, olderThan: 0, keepLast: 3 }))
      expect(yield* listIds({ threadId })).toEqual(["6", "5", "4"])
      yield* at(prune({ threadId, olderThan: "1 day", keepLast: 2 }))
      expect(yield* listIds({ threadId })).toEqual(["6", "5"])
    })
  )

  it.effect(
    "keeps what has not been taken in: writes that nothing continues, or that came before their checkpoint",
    () =>
      Effect.gen(function* () {
        const threadId = yield* Checkpoint.makeId
        yield* fill(threadId, 2)
        const branch = (id: string) => put({ threadId, parentId: "1", checkpoint: checkpoint(id) })
        yield* branch("1b")
        yield* branch("1c")
        for (const checkpointId of ["1c", "9"]) {
          yield* putWrites({ threadId, checkpointId, taskId: "t", writes: [{ channel: "a", value: checkpointId }] })
        }
        yield* put({ threadId, parentId: "2", checkpoint: checkpoint("8") })
        yield* prune({ threadId, grace: 0 })
        expect(yield* listIds({ threadId })).toEqual(["8", "1c"])
        expect((yield* getSome({ threadId, checkpointId: "1c" })).pendingWrites).toHaveLength(1)
        yield* put({ threadId, parentId: "8", checkpoint: checkpoint("9") })
        expect((yield* getSome({ threadId })).pendingWrites).toHaveLength(1)
      })
  )

  it.effect("keeps the ancestors that make up a channel, as far as its last value", () =>
    Effect.gen(function* () {
      for (const how of ["named", "counted"]) {
        const threadId = yield* Checkpoint.makeId
        for (let i = 1; i <= 6; i++) {
          const stored = i === 3 ? { sum: [1, 2, 3] } : undefined
          yield* put({
            threadId,
            ...(i > 1 && { parentId: String(i - 1) }),
            checkpoint: checkpoint(String(i), {
              channel_values: { ...stored, plain: i },
              channel_versions: { sum: i, plain: i }
            }),
            metadata: how === "counted" ? { counters_since_delta_snapshot: { sum: [1, 1] } } : {}
          })
          yield* putWrites({ threadId, checkpointId: String(i), taskId: "t", writes: [{ channel: "sum", value: i }] })
        }
        const history = Effect.flatMap(Checkpointer.Checkpointer, (_) =>
          _.deltaHistory({ threadId, channels: ["sum"] })
        )
        const before = yield* history
        yield* prune({ threadId, grace: 0, ...(how === "named" && { deltaChannels: ["sum"] }) })
        expect(yield* listIds({ threadId })).toEqual(["6", "5", "4", "3"])
        expect(yield* history).toEqual(before)
        expect(before.sum).toMatchObject({ seed: Option.some([1, 2, 3]), writes: { length: 3 } })
      }
    })
  )

  it.effect("keeps what was sent to the tasks of a checkpoint from before version 4", () =>
    Effect.gen(function* () {
      const threadId = yield* Checkpoint.makeId
      for (const id of ["1", "2", "3"]) {
        yield* put({ threadId, ...(id !== "1" && { parentId: String(+id - 1) }), checkpoint: checkpoint(id, { v: 3 }) })
        yield* putWrites({
          threadId,
          checkpointId: id,
          taskId: "t",
          writes: [{ channel: "__pregel_tasks", value: id }]
        })
      }
      yield* prune({ threadId, grace: 0 })
      expect(yield* listIds({ threadId })).toEqual(["3", "2"])
      expect((yield* getSome({ threadId })).checkpoint.channel_values).toEqual({ __pregel_tasks: ["2"] })
    })
  )

  it.effect("keeps values that a fork still names, and gives those that none does their grace", () =>
    Effect.gen(function* () {
      const threadId = yield* Checkpoint.makeId
      yield* fill(threadId, 3)
      const fork = Option.getOrThrow(
        yield* Effect.flatMap(Checkpointer.Checkpointer, (_) => _.forkAt({ threadId, checkpointId: "1", id: "3b" }))
      )
      const [late] = yield* list({ threadId, checkpointId: "2" })
      expect(yield* prune({ threadId })).toEqual({ ...nothing, checkpoints: 2, pendingWrites: 2, bytes: 2, waiting: 1 })
      // "3" stays for its pending writes.
      expect(yield* listIds({ threadId })).toEqual(["3b", "3"])
      expect((yield* getSome(fork)).checkpoint.channel_values).toEqual({ a: "a1", b: "b" })
      expect(yield* prune({ threadId })).toEqual({ ...nothing, waiting: 1 })
      // What was on its way when "2" was removed, and brings nothing along, finds its values.
      yield* put({ threadId, checkpoint: { ...late!.checkpoint, id: "4" }, newVersions: {} })
      expect((yield* getSome({ threadId })).checkpoint.channel_values).toEqual({ a: "a2", b: "b" })
      expect(yield* prune({ threadId, keepLast: 9, grace: 0 })).toEqual(nothing)
      expect((yield* getSome({ threadId })).checkpoint.channel_values).toEqual({ a: "a2", b: "b" })
    })
  )

  it.effect("refuses what continues a checkpoint that was pruned", () =>
    Effect.gen(function* () {
      const threadId = yield* Checkpoint.makeId
      yield* fill(threadId, 3)
      yield* prune({ threadId })
      const refused = { _tag: "ThreadDeleted", threadId }
      const late = checkpoint("4", { channel_versions: { a: 2 } })
      expect(yield* Effect.flip(put({ threadId, parentId: "2", checkpoint: late, newVersions: {} }))).toMatchObject(
        refused
      )
      const writes = [{ channel: "a", value: 1 }]
      expect(yield* Effect.flip(putWrites({ threadId, checkpointId: "2", taskId: "late", writes }))).toMatchObject(
        refused
      )
      yield* put({ threadId, parentId: "3", checkpoint: checkpoint("4") })
      expect(yield* listIds({ threadId })).toEqual(["4", "3"])
    })
  )

  it.effect("takes what is put again for there, though what it continues was pruned meanwhile", () =>
    Effect.gen(function* () {
      const threadId = yield* Checkpoint.makeId
      yield* fill(threadId, 3)
      yield* prune({ threadId })
      const found = yield* list({ threadId })
      const again = { threadId, parentId: "2", checkpoint: found[0]!.checkpoint, newVersions: {} }
      yield* put(again)
      yield* Effect.all([put(again), commit({ ...again, writes: [] }), put(again)], { concurrency: "unbounded" })
      expect(yield* list({ threadId })).toEqual(found.map((tuple) => ({ ...tuple, metadata: {} })))
      expect(yield* Effect.flip(put({ ...again, checkpoint: checkpoint("4") }))).toMatchObject({
        _tag: "ThreadDeleted"
      })
    })
  )
}
