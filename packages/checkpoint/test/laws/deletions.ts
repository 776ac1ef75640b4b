import type { Checkpointer } from "@checkpool/checkpoint"
import { Checkpoint } from "@checkpool/checkpoint"
import { expect, type Vitest } from "@effect/vitest"
import { Effect, Option } from "effect"
import { checkpoint, deleteThread, get, getSome, list, put, putWrites } from "./use.ts"

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
}
