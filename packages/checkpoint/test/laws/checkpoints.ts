import { Checkpoint, type Checkpointer } from "@checkpool/checkpoint"
import { expect, type Vitest } from "@effect/vitest"
import { Effect, Option } from "effect"
import { checkpoint, get, getSome, put } from "./use.ts"

/** What is put is found again: by id, as the latest, with the values that others have put. */
export const checkpoints = (it: Vitest.MethodsNonLive<Checkpointer.Checkpointer>) => {
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

  it.effect("keeps any number of values", () =>
    Effect.gen(function* () {
      const threadId = yield* Checkpoint.makeId
      for (let count = 0; count <= 12; count++) {
        const channels = Array.from({ length: count }, (_, i) => `channel ${i}`)
        const saved = checkpoint(`checkpoint ${count}`, {
          channel_values: Object.fromEntries(channels.map((channel, i) => [channel, i % 2 ? i : Uint8Array.of(i)])),
          channel_versions: Object.fromEntries(["none", ...channels].map((channel) => [channel, count]))
        })
        yield* put({ threadId, checkpoint: saved })
        expect((yield* getSome({ threadId, checkpointId: saved.id })).checkpoint).toEqual(saved)
      }
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
}
