import { Checkpoint, Checkpointer, type ThreadLife } from "@checkpool/checkpoint"
import { expect, type Vitest } from "@effect/vitest"
import { Chunk, Effect, Option, Stream } from "effect"
import { checkpoint, deleteThread, get, getSome, list, listIds, put, putWrites } from "./use.ts"

const use = <A, E>(f: (checkpointer: Checkpointer.Service) => Effect.Effect<A, E>) =>
  Effect.flatMap(Checkpointer.Checkpointer, f)

const threads = (options: ThreadLife.ThreadsOptions) =>
  use((checkpointer) => Effect.map(Stream.runCollect(checkpointer.threads(options)), Chunk.toReadonlyArray))

const without = <A extends { readonly key: Checkpoint.Key }>(threadId: string, all: ReadonlyArray<A>) =>
  all.map((each) => ({ ...each, key: { ...each.key, threadId } }))

/** A thread of two namespaces with values that are shared, pending writes, and some that came before their checkpoint. */
const fill = (threadId: string, mark = "a") =>
  Effect.gen(function* () {
    for (const namespace of ["", "inner|1"]) {
      const of = (id: string, version: number) =>
        checkpoint(id, {
          ts: `ts-${id}`,
          channel_values: { a: mark.repeat(version), still: [namespace] },
          channel_versions: { a: version, still: 1 }
        })
      const place = { threadId, namespace }
      yield* put({ ...place, checkpoint: of("1", 1), metadata: { run_id: "r1", step: 1 } })
      yield* put({
        ...place,
        checkpoint: of("2", 2),
        parentId: "1",
        metadata: { run_id: "r2", step: -0 },
        newVersions: { a: 2 }
      })
      yield* put({ ...place, checkpoint: of("2b", 2), parentId: "1", metadata: { step: 2 }, newVersions: {} })
      for (const checkpointId of ["1", "2", "3"]) {
        yield* putWrites({
          ...place,
          checkpointId,
          taskId: "t",
          taskPath: "p",
          writes: ["w", "__error__"].map((channel) => ({ channel, value: mark + checkpointId }))
        })
      }
    }
  })

/** Copies, forks, runs and the overview of threads. */
export const life = (it: Vitest.MethodsNonLive<Checkpointer.Checkpointer>) => {
  it.effect("copies all of a thread, and neither then sees what is done to the other", () =>
    Effect.gen(function* () {
      const [threadId, copyId] = [yield* Checkpoint.makeId, yield* Checkpoint.makeId]
      yield* fill(threadId)
      const before = yield* list({ threadId })
      yield* use((_) => _.copyThread(threadId, copyId))
      expect(yield* list({ threadId })).toEqual(before)
      expect(yield* list({ threadId: copyId })).toEqual(without(copyId, before))
      yield* put({ threadId: copyId, checkpoint: checkpoint("3") })
      expect((yield* getSome({ threadId: copyId })).pendingWrites.map(({ value }) => value)).toEqual(["a3", "a3"])
      yield* deleteThread(threadId)
      expect(
        without(
          threadId,
          (yield* list({ threadId: copyId })).filter(({ key }) => key.checkpointId !== "3")
        )
      ).toEqual(before)
    })
  )

  it.effect("takes a copy of nothing, or onto itself, for a no-op, and refuses one onto a thread that is there", () =>
    Effect.gen(function* () {
      const [threadId, other, late] = [yield* Checkpoint.makeId, yield* Checkpoint.makeId, yield* Checkpoint.makeId]
      const copy = (sourceId: string, targetId: string) => use((_) => _.copyThread(sourceId, targetId))
      yield* copy(threadId, other)
      expect(yield* list({ threadId: other })).toEqual([])
      yield* fill(threadId)
      yield* fill(other, "b")
      const before = yield* list({ threadId: other })
      yield* copy(threadId, threadId)
      yield* copy("nobody's thread", other)
      expect(yield* Effect.flip(copy(threadId, other))).toMatchObject({ _tag: "ThreadExists", threadId: other })
      yield* putWrites({ threadId: late, checkpointId: "1", taskId: "t", writes: [{ channel: "a", value: 1 }] })
      expect(yield* Effect.flip(copy(threadId, late))).toMatchObject({ _tag: "ThreadExists", threadId: late })
      expect(yield* list({ threadId: other })).toEqual(before)
      expect(yield* Effect.flip(copy("\0", other))).toMatchObject({ field: "sourceId", reason: "Nul" })
      expect(yield* Effect.flip(copy(threadId, ""))).toMatchObject({ field: "targetId", reason: "Empty" })
    })
  )

  it.effect("forks a checkpoint: its values and metadata under a new id, and none of its pending writes", () =>
    Effect.gen(function* () {
      const threadId = yield* Checkpoint.makeId
      // Of a machine whose clock is ahead.
      const latest = "2f0a0000-0000-6fff-8000-000000000001"
      yield* fill(threadId)
      yield* put({ threadId, namespace: "inner|1", checkpoint: checkpoint(latest) })
      const source = yield* getSome({ threadId, namespace: "inner|1", checkpointId: "2" })
      const key = Option.getOrThrow(
        yield* use((_) =>
          _.forkAt({ threadId, namespace: "inner|1", checkpointId: "2", metadata: { by: "me", step: "\0" } })
        )
      )
      const fork = yield* getSome({ threadId, namespace: "inner|1" })
      expect(fork.key).toEqual(key)
      expect(key.checkpointId > latest).toBe(true)
      expect(fork).toMatchObject({
        parentId: Option.some("2"),
        metadata: { run_id: "r2", source: "fork", by: "me", step: "\0" },
        pendingWrites: []
      })
      expect(fork.checkpoint).toEqual({ ...source.checkpoint, id: key.checkpointId, ts: fork.checkpoint.ts })
      expect((yield* list({ threadId, namespace: "" })).length).toBe(3)
      expect(yield* getSome({ threadId, namespace: "inner|1", checkpointId: "2" })).toEqual(source)
    })
  )

  it.effect(
    "forks under an id of the caller's, beside a checkpoint from before version 4, and nothing of nothing",
    () =>
      Effect.gen(function* () {
        const threadId = yield* Checkpoint.makeId
        const fork = (options: Omit<ThreadLife.ForkOptions, "threadId">) =>
          use((_) => _.forkAt({ threadId, ...options }))
        yield* put({ threadId, checkpoint: checkpoint("1", { v: 3 }) })
        yield* putWrites({
          threadId,
          checkpointId: "1",
          taskId: "t",
          writes: [{ channel: "__pregel_tasks", value: "sent" }]
        })
        yield* put({ threadId, parentId: "1", checkpoint: checkpoint("2", { v: 3, channel_values: { inline: "\0" } }) })
        expect(yield* fork({ checkpointId: "2", id: "3" })).toEqual(
          Option.some({ threadId, namespace: "", checkpointId: "3" })
        )
        const found = yield* getSome({ threadId, checkpointId: "3" })
        expect(found.parentId).toEqual(Option.some("1"))
        expect(found.checkpoint.channel_values).toEqual({ inline: "\0", __pregel_tasks: ["sent"] })
        expect(yield* fork({ checkpointId: "9" })).toEqual(Option.none())
        expect(yield* fork({ checkpointId: "2", namespace: "other" })).toEqual(Option.none())
        expect(yield* Effect.flip(fork({ checkpointId: "2", id: "\0" }))).toMatchObject({ field: "id", reason: "Nul" })
        expect(yield* Effect.flip(fork({ checkpointId: "2", metadata: { a: 1n } }))).toMatchObject({ part: "metadata" })
        expect(yield* listIds({ threadId })).toEqual(["3", "2", "1"])
      })
  )

  it.effect("deletes what runs have left behind, in all threads and namespaces, and nothing else", () =>
    Effect.gen(function* () {
      const [threadId, other] = [yield* Checkpoint.makeId, yield* Checkpoint.makeId]
      const run = `run ${yield* Checkpoint.makeId}`
      yield* fill(threadId)
      yield* fill(other)
      for (const place of [{ threadId }, { threadId: other, namespace: "inner|1" }]) {
        yield* put({ ...place, parentId: "2b", checkpoint: checkpoint("4"), metadata: { run_id: run } })
        yield* putWrites({ ...place, checkpointId: "4", taskId: "t", writes: [{ channel: "a", value: 1 }] })
        yield* put({ ...place, parentId: "4", checkpoint: checkpoint("5"), metadata: { run_id: [run] } })
      }
      const before = yield* list({ threadId })
      yield* use((_) => _.deleteForRuns([]))
      yield* use((_) => _.deleteForRuns(["no such run"]))
      expect(yield* list({ threadId })).toEqual(before)
      yield* use((_) => _.deleteForRuns([run, "no such run", run]))
      expect(yield* list({ threadId })).toEqual(
        before
          .filter(({ key }) => key.checkpointId !== "4")
          .map((each) => (each.key.checkpointId === "5" ? { ...each, parentId: Option.none() } : each))
      )
      expect(yield* get({ threadId: other, namespace: "inner|1", checkpointId: "4" })).toEqual(Option.none())
      yield* put({ threadId, checkpoint: checkpoint("4") })
      expect((yield* getSome({ threadId, checkpointId: "4" })).pendingWrites).toEqual([])
      expect(yield* Effect.flip(use((_) => _.deleteForRuns(["a", "b\0"])))).toMatchObject({
        field: "runId",
        reason: "Nul"
      })
    })
  )

  it.effect("gives an overview of threads, page by page, by key range and by metadata", () =>
    Effect.gen(function* () {
      const prefix = yield* Checkpoint.makeId
      const id = (n: number) => `${prefix}-${n}`
      for (const n of [1, 2, 3, 4]) {
        yield* fill(id(n), "é")
        if (n % 2 === 0) yield* put({ threadId: id(n), checkpoint: checkpoint("9"), metadata: { even: ["\0"] } })
      }
      yield* putWrites({ threadId: id(5), checkpointId: "1", taskId: "t", writes: [{ channel: "a", value: 1 }] })
      const within = { after: prefix, before: `${prefix}-9`, pageSize: 2 }
      // In each namespace: "é" and "éé" in quotes are 4 and 6 bytes, ["…"] is 4 more than its name, and each write 5.
      const bytes = 2 * (4 + 6 + 4 + 6 * 5) + "inner|1".length
      const summary = (n: number, checkpoints: number, lastActivity: string) => ({
        threadId: id(n),
        checkpoints,
        bytes,
        lastActivity
      })
      const odd = (n: number) => summary(n, 6, "ts-2b")
      const even = (n: number) => summary(n, 7, "ts-2b")
      expect(yield* threads(within)).toEqual([odd(1), even(2), odd(3), even(4)])
      expect(yield* threads({ ...within, after: id(1), before: id(4) })).toEqual([even(2), odd(3)])
      expect(yield* threads({ ...within, limit: 3 })).toEqual([odd(1), even(2), odd(3)])
      expect(yield* threads({ ...within, limit: 0 })).toEqual([])
      // A filter that the server alone can't decide.
      expect(yield* threads({ ...within, filter: { even: ["\0"] } })).toEqual([even(2), even(4)])
      expect(yield* threads({ ...within, filter: { even: ["\uFFFD"] } })).toEqual([])
      expect(yield* threads({ ...within, filter: { run_id: "r1", even: undefined }, limit: 1 })).toEqual([odd(1)])
      expect(yield* Effect.flip(threads({ after: "\0" }))).toMatchObject({ field: "threadId", reason: "Nul" })
    })
  )
}
