import type { Checkpointer } from "@checkpool/checkpoint"
import { Checkpoint } from "@checkpool/checkpoint"
import { expect, type Vitest } from "@effect/vitest"
import { Effect, Option } from "effect"
import { checkpoint, commit, deleteThread, get, getSome, list, put, putWrites } from "./use.ts"

/** The end of threads. */
export const deletions = (it: Vitest.MethodsNonLive<Checkpointer.Checkpointer>) => {
  const of = (a: string) => checkpoint("1", { channel_values: { a }, channel_versions: { a: 1 } })
  const write = (threadId: string, namespace: string) =>
    putWrites({ threadId, namespace, checkpointId: "1", taskId: "t", writes: [{ channel: "a", value: namespace }] })

  it.effect("deletes all of a thread and nothing of any other", () =>
    Effect.gen(function* () {
      const threadId = yield* Checkpoint.makeId
      const others = [`${threadId}x`, threadId.slice(0, -1), threadId.toUpperCase()]
      for (const thread of [threadId, ...others]) {
        for (const namespace of ["", "inner|1"]) {
          yield* put({ threadId: thread, namespace, checkpoint: of(thread) })
          yield* write(thread, namespace)
        }
      }
      yield* deleteThread(threadId)
      for (const namespace of ["", "inner|1"]) expect(yield* get({ threadId, namespace })).toEqual(Option.none())
      expect(yield* list({ threadId })).toEqual([])
      for (const thread of others) {
        for (const { checkpoint, key, pendingWrites } of yield* list({ threadId: thread })) {
          expect(checkpoint).toEqual(of(thread))
          expect(pendingWrites.map(({ value }) => value)).toEqual([key.namespace])
        }
      }
    })
  )

  it.effect("leaves neither values nor writes to a thread that begins anew under the same id", () =>
    Effect.gen(function* () {
      const threadId = yield* Checkpoint.makeId
      yield* put({ threadId, checkpoint: of("old"), parentId: "0" })
      yield* write(threadId, "")
      yield* deleteThread(threadId)
      const bare = checkpoint("1", { channel_versions: { a: 1 } })
      yield* put({ threadId, checkpoint: bare, newVersions: {} })
      expect(yield* getSome({ threadId })).toMatchObject({
        parentId: Option.none(),
        checkpoint: bare,
        pendingWrites: []
      })
      yield* put({ threadId, checkpoint: of("new") })
      expect((yield* getSome({ threadId })).checkpoint).toEqual(of("new"))
    })
  )

  it.effect("takes a thread that is not there for deleted, and refuses what can't be a thread", () =>
    Effect.gen(function* () {
      const threadId = yield* Checkpoint.makeId
      yield* deleteThread(threadId)
      yield* put({ threadId, checkpoint: of("a") })
      yield* Effect.zipRight(deleteThread(threadId), deleteThread(threadId))
      expect(yield* get({ threadId })).toEqual(Option.none())
      expect(yield* Effect.flip(deleteThread("\0"))).toMatchObject({ field: "threadId", reason: "Nul" })
      expect(yield* Effect.flip(deleteThread(""))).toMatchObject({ field: "threadId", reason: "Empty" })
    })
  )

  it.effect("refuses what continues a deleted thread, and stores nothing of it", () =>
    Effect.gen(function* () {
      const threadId = yield* Checkpoint.makeId
      for (const namespace of ["", "inner"]) {
        yield* put({ threadId, namespace, checkpoint: { ...of("a"), id: "3" }, parentId: "2" })
      }
      yield* deleteThread(threadId)
      const writes = [{ channel: "a", value: 1 }]
      const anew = { ...of("late"), id: "4" }
      const late = [
        put({ threadId, checkpoint: anew, parentId: "3" }),
        // Never seen, but older than what was deleted.
        put({ threadId, checkpoint: anew, parentId: "1" }),
        put({ threadId, namespace: "inner", checkpoint: anew, parentId: "3" }),
        put({ threadId, namespace: "another", checkpoint: anew, parentId: "3" }),
        putWrites({ threadId, checkpointId: "3", taskId: "t", writes }),
        commit({ threadId, checkpoint: anew, parentId: "3", writes: [{ taskId: "t", writes }] }),
        commit({ threadId, checkpoint: anew, writes: [{ taskId: "t", checkpointId: "3", writes }] })
      ]
      for (const write of late) {
        expect(yield* Effect.flip(write)).toMatchObject({ _tag: "ThreadDeleted", threadId })
      }
      // No later than before if it is deleted once more.
      yield* deleteThread(threadId)
      expect(yield* Effect.flip(late[0]!)).toMatchObject({ _tag: "ThreadDeleted", operation: "put" })
      expect(yield* list({ threadId })).toEqual([])
      // None of the values and writes has come through either.
      const bare = checkpoint("4", { channel_versions: { a: 1 } })
      yield* put({ threadId, checkpoint: bare, newVersions: {} })
      yield* put({ threadId, checkpoint: checkpoint("3") })
      expect((yield* getSome({ threadId, checkpointId: "4" })).checkpoint).toEqual(bare)
      expect((yield* getSome({ threadId, checkpointId: "3" })).pendingWrites).toEqual([])
    })
  )

  it.effect("lets a thread begin anew from a checkpoint without a parent, also with ids that were there before", () =>
    Effect.gen(function* () {
      const [threadId, other] = [yield* Checkpoint.makeId, yield* Checkpoint.makeId]
      for (const thread of [threadId, other]) {
        for (const id of ["1", "2", "3"]) yield* put({ threadId: thread, checkpoint: { ...of("old"), id } })
      }
      yield* deleteThread(threadId)
      const writes = [{ channel: "a", value: 1 }]
      yield* commit({ threadId, checkpoint: { ...of("new"), id: "1" }, writes: [{ taskId: "t", writes }] })
      yield* putWrites({ threadId, checkpointId: "1", taskId: "u", writes })
      yield* put({ threadId, checkpoint: { ...of("new"), id: "2" }, parentId: "1" })
      // Greater than all that was deleted: it may yet come.
      yield* putWrites({ threadId, checkpointId: "4", taskId: "t", writes })
      yield* put({ threadId, checkpoint: { ...of("new"), id: "6" }, parentId: "5" })
      const found = yield* list({ threadId })
      expect(found.map(({ key, pendingWrites }) => [key.checkpointId, pendingWrites.length])).toEqual([
        ["6", 0],
        ["2", 0],
        ["1", 2]
      ])
      yield* put({ threadId: other, checkpoint: { ...of("new"), id: "4" }, parentId: "0" })
    })
  )

  it.effect("refuses late writes also where there was no checkpoint", () =>
    Effect.gen(function* () {
      const threadId = yield* Checkpoint.makeId
      yield* write(threadId, "inner")
      yield* deleteThread(threadId)
      expect(yield* Effect.flip(write(threadId, "inner"))).toMatchObject({
        _tag: "ThreadDeleted",
        operation: "putWrites"
      })
    })
  )
}
