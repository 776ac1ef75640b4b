import { Checkpoint, type CheckpointError, Checkpointer } from "@checkpool/checkpoint"
import { describe, expect, layer as sharedLayer } from "@effect/vitest"
import { Chunk, Effect, type Layer, Option, Stream } from "effect"
import * as Order from "../src/internal/order.ts"
import { commits } from "./laws/commits.ts"
import { deletions } from "./laws/deletions.ts"
import { life } from "./laws/life.ts"
import { checkpoint, get, getSome, list, listIds, put, putWrites } from "./laws/use.ts"

/**
 * The laws of `Checkpointer.Service`, for one implementation. Threads get fresh ids, so that the layer may be shared.
 */
export const suite = <E>(
  name: string,
  layer: Layer.Layer<Checkpointer.Checkpointer, E>,
  options: { readonly memoMap?: Layer.MemoMap } = {}
) =>
  describe(name, () => {
    sharedLayer(layer, { timeout: "60 seconds", ...options })((it) => {
      commits(it)
      deletions(it)
      life(it)

      it.effect("gives back a checkpoint with its metadata and parent, latest and by id", () =>
        Effect.gen(function* () {
          const threadId = yield* Checkpoint.makeId
          const parent = yield* Checkpoint.makeId
          const saved = {
            ...(yield* Checkpoint.make({
              channel_values: { messages: [{ role: "user", text: "Grüße 🎈" }], count: 3, nothing: null },
              channel_versions: { messages: 2, count: 1.5, nothing: "00000003.1415" },
              versions_seen: { agent: { messages: 1 }, __input__: {} }
            }))
          }
          const metadata = { source: "loop", step: 1, parents: { "": parent }, nested: [{ a: null }, true] }
          const key = yield* put({ threadId, checkpoint: saved, metadata, parentId: parent })
          expect(key).toEqual({ threadId, namespace: "", checkpointId: saved.id })
          const expected = { key, parentId: Option.some(parent), checkpoint: saved, metadata, pendingWrites: [] }
          expect(yield* getSome({ threadId })).toEqual(expected)
          expect(yield* getSome({ threadId, namespace: "", checkpointId: saved.id })).toEqual(expected)
        })
      )

      it.effect("finds nothing where nothing was put", () =>
        Effect.gen(function* () {
          const threadId = yield* Checkpoint.makeId
          expect(yield* get({ threadId })).toEqual(Option.none())
          yield* put({ threadId, checkpoint: checkpoint("1") })
          expect(yield* get({ threadId, checkpointId: "2" })).toEqual(Option.none())
          expect(yield* get({ threadId, namespace: "other" })).toEqual(Option.none())
        })
      )

      it.effect("takes the greatest id by code point for the latest, not the last one put", () =>
        Effect.gen(function* () {
          // Linguistic orders (a < B < é), UTF-16 order (emoji before U+FFFD) and insertion order all differ from it.
          const ids = ["~", "é", "Z", "a", "\u{1F388}", "\uFFFD", "B", "10", "9", "a-b", "ab"]
          const sorted = ["10", "9", "B", "Z", "a", "a-b", "ab", "~", "é", "\uFFFD", "\u{1F388}"]
          for (let n = 1; n <= sorted.length; n++) {
            const threadId = yield* Checkpoint.makeId
            const some = new Set(sorted.slice(0, n))
            for (const id of ids.filter((id) => some.has(id))) yield* put({ threadId, checkpoint: checkpoint(id) })
            expect((yield* getSome({ threadId })).key.checkpointId).toBe(sorted[n - 1])
          }
        })
      )

      it.effect("writes only new values and finds the others in earlier checkpoints", () =>
        Effect.gen(function* () {
          const threadId = yield* Checkpoint.makeId
          yield* put({
            threadId,
            checkpoint: checkpoint("1", { channel_values: { a: "a1", b: "b1" }, channel_versions: { a: 1, b: 1 } })
          })
          yield* put({
            threadId,
            checkpoint: checkpoint("2", {
              channel_values: { a: "a2", b: "not new" },
              channel_versions: { a: 2, b: 1 }
            }),
            newVersions: { a: 2 }
          })
          expect((yield* getSome({ threadId })).checkpoint.channel_values).toEqual({ a: "a2", b: "b1" })
          const first = yield* getSome({ threadId, checkpointId: "1" })
          expect(first.checkpoint.channel_values).toEqual({ a: "a1", b: "b1" })
        })
      )

      it.effect("shares all values with a fork that has no new versions", () =>
        Effect.gen(function* () {
          const threadId = yield* Checkpoint.makeId
          const values = { channel_values: { a: [1] }, channel_versions: { a: 7 } }
          yield* put({ threadId, checkpoint: checkpoint("1", values) })
          yield* put({ threadId, checkpoint: checkpoint("2", values), parentId: "1", newVersions: {} })
          expect((yield* getSome({ threadId })).checkpoint).toEqual(checkpoint("2", values))
        })
      )

      it.effect("keeps the first value of a version that is put twice", () =>
        Effect.gen(function* () {
          const threadId = yield* Checkpoint.makeId
          const of = (id: string, a: string) => checkpoint(id, { channel_values: { a }, channel_versions: { a: 1 } })
          yield* put({ threadId, checkpoint: of("1", "first") })
          yield* put({ threadId, checkpoint: of("2", "second") })
          expect((yield* getSome({ threadId })).checkpoint.channel_values).toEqual({ a: "first" })
        })
      )

      it.effect("replaces the checkpoint and metadata of an id that is put twice, and keeps its parent", () =>
        Effect.gen(function* () {
          const threadId = yield* Checkpoint.makeId
          const again = checkpoint("1", { channel_values: { b: 2 }, channel_versions: { b: 2 }, ts: "later" })
          yield* put({
            threadId,
            checkpoint: checkpoint("1", { channel_values: { a: 1 }, channel_versions: { a: 1 } }),
            metadata: { step: 1, old: true },
            parentId: "0"
          })
          yield* put({ threadId, checkpoint: again, metadata: { step: 2 }, parentId: "00" })
          const tuple = yield* getSome({ threadId })
          expect(tuple).toMatchObject({ parentId: Option.some("0"), checkpoint: again })
          expect(tuple.metadata).toEqual({ step: 2 })
        })
      )

      it.effect("gives no value for a new version without one", () =>
        Effect.gen(function* () {
          const threadId = yield* Checkpoint.makeId
          yield* put({
            threadId,
            checkpoint: checkpoint("1", { channel_values: { a: 1 }, channel_versions: { a: 1 } })
          })
          yield* put({ threadId, checkpoint: checkpoint("2", { channel_versions: { a: 2 } }) })
          const { channel_values, channel_versions } = (yield* getSome({ threadId })).checkpoint
          expect(channel_values).toEqual({})
          expect(channel_versions).toEqual({ a: 2 })
        })
      )

      it.effect("keeps values of channels that have no version", () =>
        Effect.gen(function* () {
          const threadId = yield* Checkpoint.makeId
          const channel_values = { __pregel_tasks: [], set: new Set([1]), bytes: Uint8Array.of(0, 255), a: -0, s: "\0" }
          const saved = checkpoint("1", { channel_values, channel_versions: { a: 1 } })
          yield* put({ threadId, checkpoint: saved })
          expect((yield* getSome({ threadId })).checkpoint).toEqual(saved)
        })
      )

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
          expect(
            pendingWrites.map(({ channel, index, taskId, taskPath }) => [taskPath, taskId, index, channel])
          ).toEqual([
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
            const writes = [
              { channel: "a", value: id },
              ...(i % 2 === 0 ? [{ channel: "__error__", value: "no" }] : [])
            ]
            yield* putWrites({ threadId, checkpointId: id, taskId: "task", writes })
          }
          const expected = yield* Effect.forEach(sorted.toReversed(), (checkpointId) =>
            getSome({ threadId, checkpointId })
          )
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
            expect(yield* list({ threadId, checkpointId: "2" })).toEqual(
              all.filter(({ key }) => key.checkpointId === "2")
            )
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

      it.effect("tells threads and namespaces apart", () =>
        Effect.gen(function* () {
          const threadId = yield* Checkpoint.makeId
          const places = [
            { threadId, namespace: "" },
            { threadId, namespace: "inner|1" },
            { threadId: `${threadId}inner|1`, namespace: "" },
            { threadId: threadId.toUpperCase(), namespace: "" }
          ]
          const of = (a: number) => checkpoint("1", { channel_values: { a }, channel_versions: { a: 1 } })
          yield* Effect.forEach(places, (place, i) => put({ ...place, checkpoint: of(i) }))
          for (const [i, place] of places.entries()) {
            expect(yield* getSome(place)).toMatchObject({ key: place, checkpoint: of(i) })
          }
        })
      )

      it.effect("keeps every kind of value that it takes, and gives copies", () =>
        Effect.gen(function* () {
          const threadId = yield* Checkpoint.makeId
          const channel_values = {
            strings: ["", "\0", "\uD800", "a\uDC00b", "🎈", '\\u0000"', "\u2028"],
            numbers: [0, -0, 1e308, 5e-324, -1.5, Number.MAX_SAFE_INTEGER, Infinity, -Infinity, 0.1],
            undefined: undefined,
            inside: { a: undefined, b: [undefined, null], c: false },
            map: new Map<unknown, unknown>([
              ["k", new Map([[{ deep: 1 }, new Set(["x", -0])]])],
              [1, undefined]
            ]),
            bytes: Uint8Array.of(1, 2, 255),
            nested: { bytes: Uint8Array.of(0, 128) },
            regexp: /a\/"b/giu,
            empty: [{}, [], ""],
            "": "a channel without a name",
            ["__proto__"]: { polluted: true },
            "weird 'name\" {},\\": 1,
            long: "x".repeat(100_000)
          }
          const channel_versions = Object.fromEntries(Object.keys(channel_values).map((channel, i) => [channel, i]))
          const saved = checkpoint("1", { channel_values, channel_versions })
          yield* put({ threadId, checkpoint: saved })
          const read = (yield* getSome({ threadId })).checkpoint.channel_values
          expect(read).toStrictEqual(channel_values)
          expect(Object.hasOwn(read, "undefined")).toBe(true)
          channel_values.bytes[0] = 9
          expect((yield* getSome({ threadId })).checkpoint.channel_values.bytes).toEqual(Uint8Array.of(1, 2, 255))
        })
      )

      it.effect("finds values by versions that JavaScript writes with an exponent, and by fractions", () =>
        Effect.gen(function* () {
          const threadId = yield* Checkpoint.makeId
          const versions = [1e21, 1.5e22, 1e-7, 1.25e-9, -3e-8, 3 + 7 / 2 ** 32, "1e21", "", "00000001.0"]
          const channel_values = Object.fromEntries(versions.map((version, i) => [`c${i}`, version]))
          const saved = checkpoint("1", { channel_values, channel_versions: channel_values })
          yield* put({ threadId, checkpoint: saved })
          expect((yield* getSome({ threadId })).checkpoint).toEqual(saved)
        })
      )

      it.effect("keeps metadata that JSONB can't hold as it is", () =>
        Effect.gen(function* () {
          const threadId = yield* Checkpoint.makeId
          const all: ReadonlyArray<Checkpoint.Metadata> = [
            {},
            { text: "a\0b", "key\0": 1, "key\uFFFD": 2 },
            { half: ["\uD800", "\uDFFF\uD800"], step: 1 },
            { zero: -0, list: [-0, 0, "-0", ",-0,"] },
            { escaped: "\\u0000", quoted: '"\\ud800' },
            { __checkpool_exact: "{}", other: "\0" },
            { __checkpool_exact: '{"other":1}', other: 1 },
            { nested: { __checkpool_exact: 1 } },
            { ["__proto__"]: "\0" },
            { huge: [Infinity, 1e308, "\0"] },
            { undefined: undefined, map: new Map([["a", 1]]) }
          ]
          for (const [i, metadata] of all.entries()) {
            yield* put({ threadId, checkpoint: checkpoint(`${i}`), metadata })
            expect((yield* getSome({ threadId, checkpointId: `${i}` })).metadata).toStrictEqual(metadata)
          }
        })
      )

      it.effect("refuses values that would be lost, names the channel and path, and writes nothing", () =>
        Effect.gen(function* () {
          const threadId = yield* Checkpoint.makeId
          const cycle: Record<string, unknown> = {}
          cycle.self = [cycle]
          class Money {
            readonly amount = 1
          }
          const refused: ReadonlyArray<readonly [value: unknown, path: ReadonlyArray<string | number>]> = [
            [1n, []],
            [{ a: [0, { b: 2n }] }, ["a", 1, "b"]],
            [{ when: new Date(0) }, ["when"]],
            [[Number.NaN], [0]],
            [cycle, ["self", 0]],
            [{ price: new Money() }, ["price"]],
            [{ f: () => 1 }, ["f"]],
            [Symbol.iterator, []],
            [{ [Symbol.iterator]: 1 }, []],
            [Object.assign([1], { index: 1 }), []],
            [new Map([["k", new Error("no")]]), ["k"]],
            [new Float64Array(1), []],
            [{ record: { lc: 2, type: "undefined" } }, ["record"]]
          ]
          for (const [value, path] of refused) {
            const error = yield* Effect.flip(
              put({
                threadId,
                checkpoint: checkpoint("1", {
                  channel_values: { a: 1, bad: value },
                  channel_versions: { a: 1, bad: 1 }
                })
              })
            )
            expect(error).toMatchObject({ _tag: "SerializationError", part: "channel", channel: "bad", path })
            const inline = yield* Effect.flip(
              put({ threadId, checkpoint: checkpoint("1", { channel_values: { bad: value } }) })
            )
            expect(inline).toMatchObject({ _tag: "SerializationError", part: "channel", channel: "bad", path })
            const inMetadata = yield* Effect.flip(
              put({ threadId, checkpoint: checkpoint("1"), metadata: { bad: value } })
            )
            expect(inMetadata).toMatchObject({ _tag: "SerializationError", part: "metadata", path: ["bad", ...path] })
          }
          expect(yield* get({ threadId })).toEqual(Option.none())
        })
      )

      it.effect("refuses identifiers that a database can't hold", () =>
        Effect.gen(function* () {
          const threadId = yield* Checkpoint.makeId
          const good = checkpoint("1")
          const long = "x".repeat(2601)
          type Reason = CheckpointError.InvalidIdentifier["reason"]
          type Case = readonly [field: string, Reason, Partial<Checkpointer.PutOptions>]
          const refused: ReadonlyArray<Case> = [
            ["threadId", "Empty", { threadId: "" }],
            ["threadId", "Nul", { threadId: "a\0" }],
            ["threadId", "LoneSurrogate", { threadId: "a\uD83C" }],
            ["threadId", "TooLong", { threadId: long }],
            ["threadId", "NotAString", { threadId: undefined as unknown as string }],
            ["namespace", "Nul", { namespace: "\0" }],
            ["namespace", "TooLong", { namespace: "é".repeat(1300) }],
            ["checkpointId", "Empty", { checkpoint: checkpoint("") }],
            ["checkpointId", "LoneSurrogate", { checkpoint: checkpoint("\uDC00\uD800") }],
            ["parentId", "Empty", { parentId: "" }],
            ["channel", "Nul", { newVersions: { "a\0": 1 } }],
            ["channel", "TooLong", { newVersions: { [long]: 1 } }],
            ["version", "LoneSurrogate", { newVersions: { a: "\uD800" } }],
            ["version", "NotFinite", { newVersions: { a: Number.NaN } }]
          ]
          for (const [field, reason, options] of refused) {
            const error = yield* Effect.flip(put({ threadId, checkpoint: good, ...options }))
            expect(error).toMatchObject({ _tag: "InvalidIdentifier", field, reason })
          }
          expect(yield* Effect.flip(get({ threadId: "\0" }))).toMatchObject({ field: "threadId", reason: "Nul" })
          expect(yield* Effect.flip(get({ threadId, checkpointId: "" }))).toMatchObject({ field: "checkpointId" })
          expect(yield* get({ threadId })).toEqual(Option.none())
        })
      )

      it.effect("takes identifiers of the greatest length, whatever is in them", () =>
        Effect.gen(function* () {
          // Noise, so that compression can't help; cut to the limit in bytes together with the other identifiers.
          const noise = (bytes: number) =>
            Array.from({ length: bytes }, (_, i) => String.fromCharCode(33 + ((i * i * 7919 + i * 104729) % 94))).join(
              ""
            )
          const threadId = `${yield* Checkpoint.makeId}${noise(1164)}`
          const channel = noise(2600 - 1200 - 1)
          const saved = checkpoint(noise(1400), {
            channel_values: { [channel]: 1 },
            channel_versions: { [channel]: 1 }
          })
          yield* put({ threadId, checkpoint: saved, newVersions: { [channel]: 1 } })
          expect((yield* getSome({ threadId })).checkpoint).toEqual(saved)
        })
      )

      it.effect("keeps concurrent puts of many threads whole", () =>
        Effect.gen(function* () {
          const threads = yield* Effect.all(Array.from({ length: 20 }, () => Checkpoint.makeId))
          const channels = Array.from({ length: 5 }, (_, i) => `c${i}`)
          const same = (value: unknown) => Object.fromEntries(channels.map((channel) => [channel, value]))
          yield* Effect.forEach(
            threads.flatMap((threadId) => [1, 2, 3, 4, 5].map((step) => ({ threadId, step }))),
            ({ step, threadId }) =>
              put({
                threadId,
                checkpoint: checkpoint(`${step}`, {
                  channel_values: same(`${threadId}/${step}`),
                  channel_versions: Object.fromEntries(channels.map((channel) => [channel, step]))
                })
              }),
            { concurrency: 16 }
          )
          for (const threadId of threads) {
            const { checkpoint } = yield* getSome({ threadId })
            expect(checkpoint.channel_values).toEqual(same(`${threadId}/5`))
          }
        })
      )
    })
  })
