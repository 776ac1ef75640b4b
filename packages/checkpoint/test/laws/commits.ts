import type { Checkpointer } from "@checkpool/checkpoint"
import { Checkpoint } from "@checkpool/checkpoint"
import { expect, type Vitest } from "@effect/vitest"
import { Effect, Option } from "effect"
import { checkpoint, commit, get, getSome, put, putWrites } from "./use.ts"

/** Checkpoint and writes in one. */
export const commits = (it: Vitest.MethodsNonLive<Checkpointer.Checkpointer>) => {
  it.effect("commits what put and then putWrites would have stored", () =>
    Effect.gen(function* () {
      const [threadId, apart] = [yield* Checkpoint.makeId, yield* Checkpoint.makeId]
      const saved = checkpoint("2", { channel_values: { a: [1], inline: "\0" }, channel_versions: { a: 1 } })
      const options = { namespace: "inner", checkpoint: saved, metadata: { step: 1 }, parentId: "1" }
      const writes = [
        { taskId: "t", taskPath: "p", writes: ["a", "__error__", "b"].map((channel) => ({ channel, value: channel })) },
        { taskId: "none", writes: [] },
        // The same task once more: of its writes the first stay, of special ones the last.
        { taskId: "t", taskPath: "q", writes: ["c", "__error__"].map((channel) => ({ channel, value: "again" })) },
        { taskId: "of the parent", checkpointId: "1", writes: [{ channel: "a", value: Uint8Array.of(1) }] }
      ]
      yield* put({ threadId, namespace: "inner", checkpoint: checkpoint("1") })
      expect(yield* commit({ threadId, ...options, writes })).toEqual({
        threadId,
        namespace: "inner",
        checkpointId: "2"
      })
      yield* put({ threadId: apart, namespace: "inner", checkpoint: checkpoint("1") })
      yield* put({ threadId: apart, ...options })
      for (const written of writes) {
        yield* putWrites({ threadId: apart, namespace: "inner", checkpointId: "2", ...written })
      }
      for (const checkpointId of ["1", "2"]) {
        const { key, ...together } = yield* getSome({ threadId, namespace: "inner", checkpointId })
        const { key: _, ...separate } = yield* getSome({ threadId: apart, namespace: "inner", checkpointId })
        expect(together).toEqual(separate)
      }
      expect((yield* getSome({ threadId, namespace: "inner" })).pendingWrites.map(({ value }) => value)).toEqual([
        "again",
        "a",
        "b"
      ])
    })
  )

  it.effect("commits a checkpoint without writes as put does", () =>
    Effect.gen(function* () {
      const threadId = yield* Checkpoint.makeId
      const saved = checkpoint("1", { channel_values: { a: 1 }, channel_versions: { a: 1 } })
      yield* commit({ threadId, checkpoint: saved, writes: [{ taskId: "t", writes: [] }] })
      expect(yield* getSome({ threadId })).toMatchObject({ checkpoint: saved, pendingWrites: [] })
    })
  )

  it.effect("commits nothing if any part of it is refused", () =>
    Effect.gen(function* () {
      const threadId = yield* Checkpoint.makeId
      const good = checkpoint("1", { channel_values: { a: 1 }, channel_versions: { a: 1 } })
      const write = (value: unknown, rest: object = {}) => [{ taskId: "t", writes: [{ channel: "w", value }], ...rest }]
      const refused: ReadonlyArray<readonly [expected: object, Partial<Checkpointer.CommitOptions>]> = [
        [{ _tag: "SerializationError", channel: "w", path: ["x"] }, { writes: write({ x: 1n }) }],
        [{ field: "taskId", reason: "Nul" }, { writes: write(1, { taskId: "\0" }) }],
        [{ field: "checkpointId", reason: "Empty" }, { writes: write(1, { checkpointId: "" }) }],
        [{ channel: "a" }, { checkpoint: { ...good, channel_values: { a: 1n } } }],
        [{ part: "metadata" }, { metadata: { x: 1n } }]
      ]
      for (const [expected, options] of refused) {
        const error = yield* Effect.flip(commit({ threadId, checkpoint: good, writes: write(1), ...options }))
        expect(error).toMatchObject(expected)
      }
      expect(yield* get({ threadId })).toEqual(Option.none())
      yield* put({ threadId, checkpoint: good })
      expect((yield* getSome({ threadId })).pendingWrites).toEqual([])
    })
  )
}
