import type { Checkpointer } from "@checkpool/checkpoint"
import { Checkpoint } from "@checkpool/checkpoint"
import { expect, type Vitest } from "@effect/vitest"
import { Effect, Either } from "effect"
import { checkpoint, commit, deleteThread, get, getSome, listIds, put } from "./use.ts"

/** Compare and set. */
export const heads = (it: Vitest.MethodsNonLive<Checkpointer.Checkpointer>) => {
  it.effect("stores a checkpoint only if the expected one is the latest, and says which one is", () =>
    Effect.gen(function* () {
      const threadId = yield* Checkpoint.makeId
      const at = (id: string, expectHead: string | null, more: object = {}) =>
        put({ threadId, checkpoint: checkpoint(id), expectHead, ...more })
      expect(yield* Effect.flip(at("2", "1"))).toMatchObject({ _tag: "StaleHead", expected: "1", actual: null })
      expect(yield* at("1", null)).toEqual({ threadId, namespace: "", checkpointId: "1" })
      expect(yield* Effect.flip(at("2", null))).toMatchObject({ _tag: "StaleHead", expected: null, actual: "1" })
      yield* at("2", "1", { parentId: "1" })
      const values = { channel_values: { a: 1 }, channel_versions: { a: 1 } }
      const stale = yield* Effect.flip(
        commit({
          threadId,
          checkpoint: checkpoint("3", values),
          expectHead: "1",
          writes: [{ taskId: "t", writes: [{ channel: "a", value: 1 }] }]
        })
      )
      expect(stale).toMatchObject({ _tag: "StaleHead", threadId, namespace: "", expected: "1", actual: "2" })
      expect(stale.message).toContain('"2"')
      expect(yield* listIds({ threadId })).toEqual(["2", "1"])
      yield* put({ threadId, checkpoint: checkpoint("3", { ...values, channel_values: { a: "first" } }) })
      expect((yield* getSome({ threadId })).checkpoint.channel_values).toEqual({ a: "first" })
      // Of another namespace nothing is expected.
      yield* at("1", null, { namespace: "inner" })
      expect(yield* Effect.flip(at("3", "3"))).toMatchObject({ field: "checkpointId", reason: "NotAfterHead" })
      expect(yield* Effect.flip(at("B", "a"))).toMatchObject({ field: "checkpointId", reason: "NotAfterHead" })
      yield* deleteThread(threadId)
      expect(yield* Effect.flip(at("4", "3", { parentId: "3" }))).toMatchObject({ _tag: "StaleHead", actual: null })
      expect(yield* Effect.flip(at("4", null, { parentId: "3" }))).toMatchObject({ _tag: "ThreadDeleted" })
      expect(yield* get({ threadId })).toMatchObject({ _tag: "None" })
    })
  )

  it.effect("takes a checkpoint that is the latest already for stored", () =>
    Effect.gen(function* () {
      const threadId = yield* Checkpoint.makeId
      const again = put({ threadId, checkpoint: checkpoint("2"), expectHead: "1" })
      yield* put({ threadId, checkpoint: checkpoint("1") })
      expect(yield* again).toEqual(yield* again)
      expect(yield* listIds({ threadId })).toEqual(["2", "1"])
    })
  )

  it.effect("lets one of many succeed that expect the same head", () =>
    Effect.gen(function* () {
      const threadId = yield* Checkpoint.makeId
      let head: string | null = null
      for (const round of ["1", "2", "3"]) {
        const all = yield* Effect.forEach(
          ["a", "b", "c", "d", "e", "f"],
          (name) => Effect.either(put({ threadId, checkpoint: checkpoint(round + name), expectHead: head })),
          { concurrency: "unbounded" }
        )
        const won = all.filter(Either.isRight)
        expect(won).toHaveLength(1)
        head = won[0]!.right.checkpointId
        for (const each of all) if (Either.isLeft(each)) expect(each.left).toMatchObject({ actual: head })
      }
    })
  )
}
