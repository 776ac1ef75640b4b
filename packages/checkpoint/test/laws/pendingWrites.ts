import { Checkpoint, type Checkpointer } from "@checkpool/checkpoint"
import { expect, type Vitest } from "@effect/vitest"
import { Effect, Option } from "effect"
import { checkpoint, get, getSome, put, putWrites } from "./use.ts"

/** What tasks have written on top of a checkpoint. */
export const pendingWrites = (it: Vitest.MethodsNonLive<Checkpointer.Checkpointer>) => {
  it.effect("gives pending writes in the order of task path, task id and index, by code point", () =>
    Effect.gen(function* () {
      const threadId = yield* Checkpoint.makeId
      const place = { threadId, checkpointId: "1" }
      const write = (taskPath: string, taskId: string, ...channels: ReadonlyArray<string>) =>
        putWrites({ ...place, taskPath, taskId, writes: channels.map((channel) => ({ channel, value: channel })) })
      yield* write("\u{1F388}", "1", "i")
      yield* write("~b", "2", "h")
      yield* write("", "b", "c", "__interrupt__", "d")
      // Before its checkpoint as after it.
      yield* put({ threadId, checkpoint: checkpoint("1") })
      yield* write("\uFFFD", "3", "e")
      yield* write("", "B", "b", "__error__")
      yield* write("~B", "4", "g")
      const { pendingWrites } = yield* getSome({ threadId })
      expect(pendingWrites.map(({ channel, index, taskId, taskPath }) => [taskPath, taskId, index, channel])).toEqual([
        ["", "B", -1, "__error__"],
        ["", "B", 0, "b"],
        ["", "b", -3, "__interrupt__"],
        ["", "b", 0, "c"],
        ["", "b", 2, "d"],
        ["~B", "4", 0, "g"],
        ["~b", "2", 0, "h"],
        ["\uFFFD", "3", 0, "e"],
        ["\u{1F388}", "1", 0, "i"]
      ])
      for (const { channel, value } of pendingWrites) expect(value).toBe(channel)
    })
  )

  it.effect("keeps the first of equal writes, but the last of special ones, in a mixed batch too", () =>
    Effect.gen(function* () {
      const threadId = yield* Checkpoint.makeId
      const place = { threadId, checkpointId: "1", taskId: "task" }
      yield* put({ threadId, checkpoint: checkpoint("1") })
      yield* putWrites({
        ...place,
        taskPath: "first",
        writes: [
          { channel: "a", value: "first" },
          { channel: "__resume__", value: 1 },
          { channel: "__resume__", value: 2 }
        ]
      })
      expect((yield* getSome({ threadId })).pendingWrites.map(({ value }) => value)).toEqual([2, "first"])
      yield* putWrites({
        ...place,
        taskPath: "second",
        writes: [
          { channel: "b", value: "second" },
          { channel: "__resume__", value: undefined },
          { channel: "__scheduled__", value: Uint8Array.of(1) },
          { channel: "toString", value: "third" }
        ]
      })
      expect((yield* getSome({ threadId })).pendingWrites).toEqual([
        { taskPath: "first", taskId: "task", index: -4, channel: "__resume__", value: undefined },
        { taskPath: "first", taskId: "task", index: 0, channel: "a", value: "first" },
        { taskPath: "second", taskId: "task", index: -2, channel: "__scheduled__", value: Uint8Array.of(1) },
        { taskPath: "second", taskId: "task", index: 3, channel: "toString", value: "third" }
      ])
    })
  )

  it.effect("takes no writes for a no-op, and writes alone for no checkpoint", () =>
    Effect.gen(function* () {
      const threadId = yield* Checkpoint.makeId
      yield* putWrites({ threadId, checkpointId: "1", taskId: "a", writes: [] })
      yield* putWrites({ threadId, checkpointId: "1", taskId: "a", writes: [{ channel: "a", value: 1 }] })
      expect(yield* get({ threadId })).toEqual(Option.none())
      expect(yield* get({ threadId, checkpointId: "1" })).toEqual(Option.none())
    })
  )

  it.effect("keeps the writes of one checkpoint from all others", () =>
    Effect.gen(function* () {
      const threadId = yield* Checkpoint.makeId
      const write = (namespace: string, checkpointId: string, value: number) =>
        putWrites({ threadId, namespace, checkpointId, taskId: "a", writes: [{ channel: "a", value }] })
      for (const namespace of ["", "inner"]) {
        for (const id of ["1", "2"]) yield* put({ threadId, namespace, checkpoint: checkpoint(id) })
      }
      yield* write("", "1", 1)
      yield* write("inner", "2", 2)
      const found = yield* Effect.forEach(["", "inner"], (namespace) =>
        Effect.forEach(["1", "2"], (checkpointId) => getSome({ threadId, namespace, checkpointId }))
      )
      expect(found.flat().map(({ pendingWrites }) => pendingWrites.map(({ value }) => value))).toEqual([
        [1],
        [],
        [],
        [2]
      ])
    })
  )

  it.effect("refuses a batch of writes as a whole", () =>
    Effect.gen(function* () {
      const threadId = yield* Checkpoint.makeId
      const good = { threadId, checkpointId: "1", taskId: "a", writes: [{ channel: "a", value: 1 as unknown }] }
      yield* put({ threadId, checkpoint: checkpoint("1") })
      const refused: ReadonlyArray<readonly [expected: object, Partial<Checkpointer.PutWritesOptions>]> = [
        [{ channel: "b", path: [0] }, { writes: [...good.writes, { channel: "b", value: [1n] }] }],
        [{ field: "channel", reason: "Nul" }, { writes: [...good.writes, { channel: "\0", value: 1 }] }],
        [{ field: "taskId", reason: "TooLong" }, { taskId: "x".repeat(2600) }],
        [{ field: "taskPath", reason: "LoneSurrogate" }, { taskPath: "\uD800" }],
        [{ field: "checkpointId", reason: "Empty" }, { checkpointId: "" }],
        [{ field: "threadId", reason: "Nul" }, { threadId: "\0" }]
      ]
      for (const [expected, options] of refused) {
        expect(yield* Effect.flip(putWrites({ ...good, ...options }))).toMatchObject(expected)
      }
      expect((yield* getSome({ threadId })).pendingWrites).toEqual([])
    })
  )
}
