import { Checkpoint, Checkpointer } from "@checkpool/checkpoint"
import { expect, type Vitest } from "@effect/vitest"
import { Chunk, Effect, Stream } from "effect"
import * as Order from "../../src/internal/order.ts"
import { checkpoint, getSome, list, listIds, put, putWrites } from "./use.ts"

/** Lists: their order, pages, filters and projections. */
export const lists = (it: Vitest.MethodsNonLive<Checkpointer.Checkpointer>) => {
  it.effect("lists what get gives, by id from the greatest down, by code point", () =>
    Effect.gen(function* () {
      const threadId = yield* Checkpoint.makeId
      const sorted = ["10", "9", "B", "Z", "a", "a-b", "ab", "~", "é", "\uFFFD", "\u{1F388}"]
      for (const [i, id] of sorted.toSorted().entries()) {
        const channel_values = { id, same: "same", inline: [id] }
        yield* put({
          threadId,
          parentId: i === 0 ? undefined : "9",
          checkpoint: checkpoint(id, { channel_values, channel_versions: { id: i + 1, same: 1, gone: 1 } }),
          metadata: { id, half: "\uD800" }
        })
        const writes = [{ channel: "a", value: id }, ...(i % 2 === 0 ? [{ channel: "__error__", value: "no" }] : [])]
        yield* putWrites({ threadId, checkpointId: id, taskId: "task", writes })
      }
      const expected = yield* Effect.forEach(sorted.toReversed(), (checkpointId) => getSome({ threadId, checkpointId }))
      for (const pageSize of [undefined, 1, 2, 5, 10, 11, 12, 1000]) {
        expect(yield* list({ threadId, namespace: "", pageSize })).toEqual(expected)
        expect(yield* list({ threadId, pageSize })).toEqual(expected)
      }
    })
  )

  it.effect("lists a thread's namespaces together, or one of them, also where there are many", () =>
    Effect.gen(function* () {
      for (const many of [3, 40]) {
        const threadId = yield* Checkpoint.makeId
        const namespaces = ["", "é", "\u{1F388}", "B", "a", ...Array.from({ length: many }, (_, i) => `inner|${i}`)]
        const keys = namespaces.flatMap((namespace, i) =>
          // Each id in two places.
          [`${i}`, `${i + 1}`].map((checkpointId) => ({ threadId, namespace, checkpointId }))
        )
        yield* Effect.forEach(
          keys,
          ({ checkpointId, namespace }) =>
            put({
              threadId,
              namespace,
              checkpoint: checkpoint(checkpointId, {
                channel_values: { at: [namespace, checkpointId] },
                channel_versions: { at: Number(checkpointId) }
              })
            }),
          { concurrency: 4 }
        )
        const all = yield* list({ threadId })
        expect(all.map(({ key }) => key)).toEqual(
          keys.toSorted(
            (a, b) => Order.codePoints(b.checkpointId, a.checkpointId) || Order.codePoints(b.namespace, a.namespace)
          )
        )
        for (const { checkpoint, key } of all) {
          expect(checkpoint.channel_values).toEqual({ at: [key.namespace, key.checkpointId] })
        }
        expect(yield* list({ threadId, pageSize: 3 })).toEqual(all)
        expect(yield* list({ threadId, limit: 4, pageSize: 3 })).toEqual(all.slice(0, 4))
        expect(yield* list({ threadId, before: "2", pageSize: 1 })).toEqual(
          all.filter(({ key }) => Order.codePoints(key.checkpointId, "2") < 0)
        )
        expect(yield* list({ threadId, checkpointId: "2" })).toEqual(all.filter(({ key }) => key.checkpointId === "2"))
        expect(yield* listIds({ threadId, namespace: "é" })).toEqual(["2", "1"])
      }
    })
  )

  it.effect("lists over all threads", () =>
    Effect.gen(function* () {
      const mark = yield* Checkpoint.makeId
      const threads = ["1", "B", "a", "\u{1F388}", "\uFFFD"].map((name) => `${mark}-${name}`)
      yield* Effect.forEach(threads, (threadId, i) =>
        Effect.forEach(["", "inner"], (namespace) =>
          put({
            threadId,
            namespace,
            metadata: { mark, last: i === 4 },
            checkpoint: checkpoint(i < 2 ? "1" : "2", { channel_values: { i }, channel_versions: { i: 1 } })
          })
        )
      )
      const all = yield* list({ filter: { mark } })
      const expected = [...threads.slice(0, 2), ...threads.slice(2).toSorted(Order.codePoints)]
      expect(all.map(({ key }) => [key.threadId, key.namespace])).toEqual(
        expected.toReversed().flatMap((threadId) => [
          [threadId, "inner"],
          [threadId, ""]
        ])
      )
      for (const { checkpoint, key } of all) {
        expect(checkpoint.channel_values).toEqual({ i: threads.indexOf(key.threadId) })
      }
      for (const pageSize of [1, 3]) expect(yield* list({ filter: { mark }, pageSize })).toEqual(all)
      expect(yield* list({ filter: { mark }, namespace: "inner", pageSize: 2 })).toEqual(
        all.filter(({ key }) => key.namespace === "inner")
      )
      expect(yield* list({ filter: { mark, last: true } })).toHaveLength(2)
    })
  )

  it.effect("lists up to a limit and before an id, which need not be there", () =>
    Effect.gen(function* () {
      const threadId = yield* Checkpoint.makeId
      for (const id of ["1", "2", "3", "5", "\uFFFD"]) yield* put({ threadId, checkpoint: checkpoint(id) })
      const place = { threadId, namespace: "" }
      expect(yield* listIds({ ...place, limit: 2 })).toEqual(["\uFFFD", "5"])
      expect(yield* listIds({ ...place, limit: 3.9, pageSize: 2 })).toEqual(["\uFFFD", "5", "3"])
      for (const limit of [0, -1, 0.5, Number.NaN]) expect(yield* listIds({ ...place, limit })).toEqual([])
      expect(yield* listIds({ ...place, limit: Infinity })).toHaveLength(5)
      expect(yield* listIds({ ...place, before: "\u{1F388}" })).toHaveLength(5)
      expect(yield* listIds({ ...place, before: "\uFFFD" })).toEqual(["5", "3", "2", "1"])
      expect(yield* listIds({ ...place, before: "4", limit: 2 })).toEqual(["3", "2"])
      expect(yield* listIds({ ...place, before: "1" })).toEqual([])
      expect(yield* listIds({ ...place, checkpointId: "3" })).toEqual(["3"])
      expect(yield* listIds({ ...place, checkpointId: "3", before: "3" })).toEqual([])
      expect(yield* listIds({ ...place, checkpointId: "4" })).toEqual([])
    })
  )

  it.effect("lists without values or without writes", () =>
    Effect.gen(function* () {
      const threadId = yield* Checkpoint.makeId
      const saved = checkpoint("1", { channel_values: { a: 1, inline: 2 }, channel_versions: { a: 1 } })
      yield* put({ threadId, checkpoint: saved, metadata: { step: 1 } })
      yield* putWrites({ threadId, checkpointId: "1", taskId: "t", writes: [{ channel: "a", value: 1 }] })
      const whole = yield* getSome({ threadId })
      expect(yield* list({ threadId, writes: false })).toEqual([{ ...whole, pendingWrites: [] }])
      const bare = { ...whole, checkpoint: { ...saved, channel_values: {} } }
      expect(yield* list({ threadId, values: false })).toEqual([bare])
      expect(yield* list({ threadId, values: false, writes: false })).toEqual([{ ...bare, pendingWrites: [] }])
    })
  )

  it.effect("lists by what the metadata contain", () =>
    Effect.gen(function* () {
      const threadId = yield* Checkpoint.makeId
      const all: ReadonlyArray<Checkpoint.Metadata> = [
        { source: "input", step: -1, tags: ["a", "b"], nested: { x: 1, y: [{ z: 1, w: 2 }, [3]] } },
        { source: "loop", step: 0, tags: [], nested: {}, nothing: null },
        { source: "loop", step: 1, tags: ["b"], nested: { x: [1] } },
        { step: "1", tags: "b", text: "a\0", "key\0": { k: "\uD800" }, "key\uFFFD": 2 },
        { text: "a\uFFFD", "key\uFFFD": 3, zero: 0, huge: Infinity },
        { text: "a\uDC00", zero: -0, huge: [Infinity, "\0"], __checkpool_exact: "x" },
        { map: new Map([["k", "\0"]]), ["__proto__"]: { a: 1 }, nowhere: undefined }
      ]
      for (const [i, metadata] of all.entries()) yield* put({ threadId, checkpoint: checkpoint(`${i}`), metadata })
      const cases: ReadonlyArray<readonly [filter: Checkpoint.Metadata, ids: string]> = [
        [{}, "6543210"],
        [{ source: undefined }, "6543210"],
        [{ source: "loop" }, "21"],
        [{ source: "loop", step: 1 }, "2"],
        [{ step: 1.0 }, "2"],
        [{ nothing: null }, "1"],
        [{ tags: ["b"] }, "20"],
        [{ tags: ["b", "a", "b"] }, "0"],
        [{ tags: [] }, "210"],
        [{ tags: "b" }, "3"],
        [{ nested: {} }, "210"],
        [{ nested: { y: [{ z: 1 }] } }, "0"],
        [{ nested: { y: [[3], {}] } }, "0"],
        [{ nested: { y: [3] } }, ""],
        [{ nested: { x: 1 } }, "0"],
        [{ text: "a\0" }, "3"],
        [{ text: "a\uFFFD" }, "4"],
        [{ text: "a\uDC00" }, "5"],
        [{ text: "a\uD800" }, ""],
        [{ "key\0": { k: "\uD800" } }, "3"],
        [{ "key\0": {} }, "3"],
        [{ "key\uD800": {} }, ""],
        [{ "key\uFFFD": 2 }, "3"],
        [{ "key\uFFFD": 3 }, "4"],
        [{ zero: 0 }, "54"],
        [{ zero: -0 }, "54"],
        [{ huge: Infinity }, "4"],
        [{ huge: ["\0", Infinity] }, "5"],
        [{ huge: ["\uD800"] }, ""],
        [{ __checkpool_exact: "x" }, "5"],
        [{ __checkpool_exact: {} }, ""],
        [{ map: new Map([["k", "\0"]]) }, "6"],
        [{ ["__proto__"]: { a: 1 } }, "6"],
        [{ nowhere: { lc: 2 } }, "6"],
        [{ toString: {} }, ""]
      ]
      for (const [filter, ids] of cases) {
        expect([filter, (yield* listIds({ threadId, filter })).join("")]).toEqual([filter, ids])
        expect((yield* listIds({ threadId, filter, limit: 1, pageSize: 2 })).join("")).toBe(ids.slice(0, 1))
      }
      const refused = yield* Effect.flip(list({ threadId, filter: { step: { at: 1n } } }))
      expect(refused).toMatchObject({ _tag: "SerializationError", part: "metadata", path: ["step", "at"] })
    })
  )

  it.effect("reads no further than a list is consumed, and can be used meanwhile", () =>
    Effect.gen(function* () {
      const threadId = yield* Checkpoint.makeId
      const checkpointer = yield* Checkpointer.Checkpointer
      for (const id of ["1", "2", "3"]) yield* put({ threadId, checkpoint: checkpoint(id) })
      const met = yield* Stream.runCollect(
        checkpointer.list({ threadId, pageSize: 1 }).pipe(
          Stream.mapEffect(({ key }) =>
            Effect.gen(function* () {
              // Too late to be listed.
              yield* put({ threadId, checkpoint: checkpoint(`${key.checkpointId}-`) })
              // In time, unless it was read ahead.
              yield* put({ threadId, checkpoint: checkpoint("0") })
              return (yield* getSome(key)).key.checkpointId
            })
          ),
          Stream.take(4)
        )
      )
      expect(Chunk.toReadonlyArray(met)).toEqual(["3", "2", "1", "0"])
    })
  )

  it.effect("refuses to list by identifiers that a database can't hold, and finds nothing of unknown ones", () =>
    Effect.gen(function* () {
      const refused: ReadonlyArray<readonly [field: string, reason: string, Checkpointer.ListOptions]> = [
        ["threadId", "Empty", { threadId: "" }],
        ["threadId", "Nul", { threadId: "\0" }],
        ["namespace", "LoneSurrogate", { namespace: "\uD800" }],
        ["checkpointId", "Nul", { checkpointId: "\0" }],
        ["before", "Nul", { before: "\0" }],
        ["before", "Empty", { before: "" }]
      ]
      for (const [field, reason, options] of refused) {
        const error = yield* Effect.flip(list(options))
        expect(error).toMatchObject({ _tag: "InvalidIdentifier", field, reason })
      }
      expect(yield* list({ threadId: yield* Checkpoint.makeId })).toEqual([])
      expect(yield* list({ checkpointId: yield* Checkpoint.makeId })).toEqual([])
    })
  )
}
