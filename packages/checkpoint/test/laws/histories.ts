import { Checkpoint, Checkpointer } from "@checkpool/checkpoint"
import { expect, type Vitest } from "@effect/vitest"
import { Effect, Option } from "effect"
import { checkpoint, getSome, list, put, putWrites } from "./use.ts"

/** What has become of channels along the parents, and checkpoints of older formats. */
export const histories = (it: Vitest.MethodsNonLive<Checkpointer.Checkpointer>) => {
  it.effect("gives the history of channels: the last value that was stored, and what was written since", () =>
    Effect.gen(function* () {
      const threadId = yield* Checkpoint.makeId
      const checkpointer = yield* Checkpointer.Checkpointer
      const chain = ["1", "2", "3", "4", "5"]
      for (const [i, id] of chain.entries()) {
        yield* put({
          threadId,
          parentId: chain[i - 1],
          checkpoint: checkpoint(id, {
            // "a" is stored at 2, "inline" at 3 without a version, "b" never, "gone" from 2 to 3.
            channel_values: { ...(i === 1 && { a: "a2", gone: "g" }), ...(i === 2 && { inline: undefined }) },
            channel_versions: { b: i, ...(i === 1 && { a: 2 }), ...(i >= 1 && { gone: i < 3 ? 1 : 3 }) }
          }),
          newVersions: { b: i, ...(i === 1 && { a: 2, gone: 1 }), ...(i === 3 && { gone: 3 }) }
        })
        const write = (taskPath: string, taskId: string) =>
          putWrites({
            threadId,
            checkpointId: id,
            taskPath,
            taskId,
            writes: ["a", "b", "inline", "other", "a"].map((channel) => ({ channel, value: `${channel}${id}` }))
          })
        yield* write("~2", "1")
        yield* write("~10", "2")
      }
      // A branch that is not on the way.
      yield* put({ threadId, parentId: "2", checkpoint: checkpoint("3b", { channel_values: { a: "no" } }) })
      const history = yield* checkpointer.deltaHistory({ threadId, channels: ["a", "b", "inline", "none", "a"] })
      expect(Object.keys(history).toSorted()).toEqual(["a", "b", "inline", "none"])
      const written = (channel: string) =>
        history[channel]?.writes.map(({ index, taskId, value }) => [value, taskId, index])
      expect(written("a")).toEqual(
        ["2", "3", "4"].flatMap((id) => [
          [`a${id}`, "2", 0],
          [`a${id}`, "2", 4],
          [`a${id}`, "1", 0],
          [`a${id}`, "1", 4]
        ])
      )
      expect(history.a?.seed).toEqual(Option.some("a2"))
      expect(written("inline")).toEqual(
        ["3", "4"].flatMap((id) => [
          [`inline${id}`, "2", 2],
          [`inline${id}`, "1", 2]
        ])
      )
      expect(history.inline?.seed).toEqual(Option.some(undefined))
      expect(history.b?.seed).toEqual(Option.none())
      expect(history.b?.writes).toHaveLength(8)
      expect(history.none).toEqual({ seed: Option.none(), writes: [] })
      expect(history.b?.writes[0]).toEqual({ taskPath: "~10", taskId: "2", index: 1, channel: "b", value: "b1" })

      const of = (checkpointId: string, ...channels: ReadonlyArray<string>) =>
        checkpointer.deltaHistory({ threadId, checkpointId, channels })
      expect((yield* of("3", "a")).a).toMatchObject({ seed: Option.some("a2"), writes: { length: 4 } })
      // What is stored at the checkpoint itself is not asked for.
      expect((yield* of("2", "a")).a).toMatchObject({ seed: Option.none(), writes: { length: 4 } })
      expect((yield* of("3b", "a")).a).toMatchObject({ seed: Option.some("a2"), writes: { length: 4 } })
      expect((yield* of("5", "gone")).gone).toMatchObject({ seed: Option.some("g"), writes: [] })
    })
  )

  it.effect("gives an empty history where there is nothing, and none of no channels", () =>
    Effect.gen(function* () {
      const threadId = yield* Checkpoint.makeId
      const { deltaHistory } = yield* Checkpointer.Checkpointer
      const empty = { seed: Option.none(), writes: [] }
      expect(yield* deltaHistory({ threadId, channels: ["a"] })).toEqual({ a: empty })
      yield* put({ threadId, checkpoint: checkpoint("1"), parentId: "0" })
      expect(yield* deltaHistory({ threadId, channels: ["a"] })).toEqual({ a: empty })
      expect(yield* deltaHistory({ threadId, checkpointId: "9", channels: ["a"] })).toEqual({ a: empty })
      expect(yield* deltaHistory({ threadId, channels: [] })).toEqual({})
      const error = yield* Effect.flip(deltaHistory({ threadId, channels: ["a", "\0"] }))
      expect(error).toMatchObject({ field: "channel", reason: "Nul" })
    })
  )

  it.effect("goes round once where parents go round in a circle", () =>
    Effect.gen(function* () {
      const threadId = yield* Checkpoint.makeId
      const { deltaHistory } = yield* Checkpointer.Checkpointer
      for (const [id, parentId] of ["12", "23", "31"].map((pair) => pair.split(""))) {
        yield* put({ threadId, parentId, checkpoint: checkpoint(id!) })
        yield* putWrites({ threadId, checkpointId: id!, taskId: "t", writes: [{ channel: "a", value: id }] })
      }
      const history = yield* deltaHistory({ threadId, checkpointId: "1", channels: ["a", "__proto__"] })
      expect(history.a?.writes.map(({ value }) => value)).toEqual(["1", "3", "2"])
      expect(Object.hasOwn(history, "__proto__")).toBe(true)
    })
  )

  it.effect("gives what was sent to the tasks of checkpoints before version 4 as the value of a channel", () =>
    Effect.gen(function* () {
      const threadId = yield* Checkpoint.makeId
      const send = (checkpointId: string, taskId: string, ...values: ReadonlyArray<unknown>) =>
        putWrites({
          threadId,
          checkpointId,
          taskId,
          writes: [{ channel: "a", value: 0 }, ...values.map((value) => ({ channel: "__pregel_tasks", value }))]
        })
      const old = { v: 3, channel_values: { a: 1 }, channel_versions: { a: 2, b: 10 } }
      yield* put({ threadId, checkpoint: checkpoint("1", old) })
      yield* send("1", "y", { node: "n" }, undefined)
      yield* send("1", "x", Uint8Array.of(1))
      yield* put({ threadId, parentId: "1", checkpoint: checkpoint("2", old) })
      yield* put({ threadId, parentId: "1", checkpoint: checkpoint("2b", { ...old, v: 4 }) })
      yield* put({ threadId, parentId: "2", checkpoint: checkpoint("3", { v: 1 }) })
      yield* put({ threadId, parentId: "1", checkpoint: checkpoint("4", { v: 1 }) })
      const __pregel_tasks = [Uint8Array.of(1), { node: "n" }, undefined]
      const expected = [
        checkpoint("4", { v: 1, channel_values: { __pregel_tasks }, channel_versions: { __pregel_tasks: 1 } }),
        checkpoint("3", { v: 1 }),
        checkpoint("2b", { ...old, v: 4 }),
        checkpoint("2", {
          v: 3,
          channel_values: { a: 1, __pregel_tasks },
          channel_versions: { ...old.channel_versions, __pregel_tasks: 10 }
        }),
        checkpoint("1", old)
      ]
      expect((yield* list({ threadId })).map(({ checkpoint }) => checkpoint)).toEqual(expected)
      for (const each of expected) {
        expect((yield* getSome({ threadId, checkpointId: each.id })).checkpoint).toEqual(each)
      }
    })
  )
}
