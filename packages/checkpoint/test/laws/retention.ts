import { Checkpoint, Checkpointer, Retention } from "@checkpool/checkpoint"
import { expect, type Vitest } from "@effect/vitest"
import { Duration, Effect, Option } from "effect"
import { at, checkpoint, getSome, list, listIds, put, putWrites } from "./use.ts"

const setTtl = (threadId: string, ttl: Duration.DurationInput | undefined) =>
  Effect.flatMap(Checkpointer.Checkpointer, (_) => _.setTtl(threadId, ttl))

const ttl = (threadId: string) => Effect.flatMap(Checkpointer.Checkpointer, (_) => _.ttl(threadId))

/** Checkpoints that follow each other, a day apart from the first of January 2026, each with a new value of 3 bytes. */
const fill = (threadId: string, count: number) =>
  Effect.gen(function* () {
    for (let i = 1; i <= count; i++) {
      yield* put({
        threadId,
        parentId: i === 1 ? undefined : String(i - 1),
        checkpoint: checkpoint(String(i), {
          ts: `2026-01-0${i}T00:00:00.000Z`,
          channel_values: { a: String(i) },
          channel_versions: { a: i }
        }),
        newVersions: { a: i }
      })
    }
    yield* putWrites({ threadId, checkpointId: String(count), taskId: "t", writes: [{ channel: "a", value: "w" }] })
  })

const on = (day: number) => at(Date.UTC(2026, 0, day))

/** Threads with ids that begin with the same, and passes over these alone. */
const some = Effect.map(Checkpoint.makeId, (prefix) => ({
  id: (n: number) => `${prefix}-${n}`,
  run: (options: Retention.RunOptions) => Retention.run({ after: prefix, before: `${prefix}-9`, ...options })
}))

const nothing = { pruned: 0, deleted: 0, failed: 0, checkpoints: 0, pendingWrites: 0, values: 0, bytes: 0, waiting: 0 }

/** Stores that are kept small. */
export const retention = (it: Vitest.MethodsNonLive<Checkpointer.Checkpointer>) => {
  it.effect("retention thins out histories and deletes threads that nothing has happened to, and no others", () =>
    Effect.gen(function* () {
      const { id, run } = yield* some
      yield* fill(id(1), 5)
      yield* fill(id(2), 2)
      yield* fill(id(3), 1)
      const policy = { prune: { keepLast: 2 }, expireAfter: "3 days" } as const
      const whole = yield* list({ threadId: id(1) })
      expect(yield* on(6)(run({ policy, grace: 0 }))).toMatchObject({
        ended: "Complete",
        dryRun: false,
        threads: 3,
        pruned: 1,
        deleted: 2,
        failed: 0,
        checkpoints: 3 + 2 + 1,
        pendingWrites: 2,
        values: 3 + 2 + 1,
        bytes: 6 * 3 + 2 * 3,
        waiting: 0,
        failures: [],
        next: undefined
      })
      expect(yield* list({ threadId: id(1) })).toEqual([whole[0], { ...whole[1], parentId: Option.none() }])
      for (const n of [2, 3]) expect(yield* listIds({ threadId: id(n) })).toEqual([])
      expect(yield* on(6)(run({ policy, grace: 0 }))).toMatchObject({ ...nothing, ended: "Complete", threads: 1 })
    })
  )

  it.effect("retention without a policy leaves everything but what has a time to live", () =>
    Effect.gen(function* () {
      const { id, run } = yield* some
      for (const n of [1, 2, 3, 4]) yield* fill(id(n), 2)
      yield* setTtl(id(1), "3 days")
      yield* setTtl(id(2), "5 days")
      yield* setTtl(id(3), "3 days")
      yield* setTtl(id(3), undefined)
      expect(yield* ttl(id(2))).toEqual(Option.some(Duration.days(5)))
      for (const n of [3, 4]) expect(yield* ttl(id(n))).toEqual(Option.none())
      expect(yield* on(6)(run({ policy: {} }))).toMatchObject({ threads: 4, deleted: 1, pruned: 0, checkpoints: 2 })
      expect(yield* listIds({ threadId: id(1) })).toEqual([])
      // What begins anew has the time that everybody has.
      expect(yield* ttl(id(1))).toEqual(Option.none())
      for (const n of [2, 3, 4]) expect(yield* listIds({ threadId: id(n) })).toEqual(["2", "1"])
      // Its own time takes the place of the policy's, be it longer or none at all.
      yield* setTtl(id(3), Number.POSITIVE_INFINITY)
      expect(yield* ttl(id(3))).toEqual(Option.some(Duration.infinity))
      expect(yield* on(6)(run({ policy: { expireAfter: "1 day" } }))).toMatchObject({ deleted: 1 })
      expect(yield* listIds({ threadId: id(4) })).toEqual([])
      expect(yield* on(8)(run({ policy: { expireAfter: "30 days" } }))).toMatchObject({ deleted: 1 })
      expect(yield* listIds({ threadId: id(2) })).toEqual([])
      expect(yield* listIds({ threadId: id(3) })).toEqual(["2", "1"])
      expect(yield* Effect.flip(setTtl("", 1))).toMatchObject({ field: "threadId", reason: "Empty" })
      expect(yield* Effect.flip(ttl("\0"))).toMatchObject({ field: "threadId", reason: "Nul" })
      expect(yield* Effect.flip(run({ policy: {}, after: "\0" }))).toMatchObject({ field: "threadId", reason: "Nul" })
      expect(yield* Effect.flip(run({ policy: { prune: { deltaChannels: ["\0"] } } }))).toMatchObject({
        field: "channel"
      })
    })
  )

  it.effect("a time to live may be set before the thread begins, and ends with it; a copy has none", () =>
    Effect.gen(function* () {
      const { id, run } = yield* some
      yield* setTtl(id(1), "3 days")
      yield* run({ policy: {} })
      expect(yield* ttl(id(1))).toEqual(Option.some(Duration.days(3)))
      yield* fill(id(1), 1)
      const checkpointer = yield* Checkpointer.Checkpointer
      yield* checkpointer.copyThread(id(1), id(2))
      expect(yield* ttl(id(2))).toEqual(Option.none())
      expect(yield* on(5)(run({ policy: {} }))).toMatchObject({ deleted: 1 })
      expect(yield* listIds({ threadId: id(2) })).toEqual(["1"])
      yield* setTtl(id(2), "1 day")
      yield* checkpointer.deleteThread(id(2))
      expect(yield* ttl(id(2))).toEqual(Option.none())
    })
  )

  it.effect("a dry run tells what would go and leaves no trace", () =>
    Effect.gen(function* () {
      const { id, run } = yield* some
      yield* fill(id(1), 5)
      yield* fill(id(2), 2)
      yield* fill(id(3), 5)
      yield* setTtl(id(3), Number.POSITIVE_INFINITY)
      const options = { policy: { prune: { keepLast: 4 }, expireAfter: "3 days" }, grace: 0 } as const
      const contents = Effect.forEach([1, 2, 3], (n) => list({ threadId: id(n) }))
      const before = yield* contents
      const would = yield* on(6)(run({ ...options, dryRun: true }))
      expect(yield* contents).toEqual(before)
      const numbers = { pruned: 2, deleted: 1, checkpoints: 1 + 2 + 1, pendingWrites: 1, values: 4, bytes: 5 * 3 }
      expect(would).toMatchObject({ ended: "Complete", dryRun: true, threads: 3, failed: 0, ...numbers })
      // Nobody has looked at them yet.
      const did = yield* on(6)(run({ ...options, every: "1 hour" }))
      expect(did).toMatchObject({ ended: "Complete", dryRun: false, threads: 3, ...numbers })
    })
  )

  it.effect("a pass looks at so many threads, the next one at the others", () =>
    Effect.gen(function* () {
      const { id, run } = yield* some
      for (const n of [1, 2, 3, 4, 5]) yield* fill(id(n), 2)
      const options = { policy: { prune: {} }, every: "1 hour", maxThreads: 2 } as const
      expect(yield* run(options)).toMatchObject({ ended: "MaxThreads", threads: 2, pruned: 2 })
      expect(yield* run(options)).toMatchObject({ ended: "MaxThreads", threads: 2, pruned: 2 })
      expect(yield* run(options)).toMatchObject({ ended: "Complete", threads: 1, pruned: 1 })
      expect(yield* run(options)).toMatchObject({ ended: "Complete", threads: 0, pruned: 0 })
      for (const n of [1, 2, 3, 4, 5]) expect(yield* listIds({ threadId: id(n) })).toEqual(["2"])
      yield* fill(id(6), 2)
      expect(yield* run({ ...options, timeLimit: 0 })).toMatchObject({ ended: "TimeLimit", threads: 0 })
      expect(yield* run(options)).toMatchObject({ ended: "Complete", threads: 1, pruned: 1 })
      // Without `every` each pass looks at all of them.
      expect(yield* run({ ...options, every: 0 })).toMatchObject({ ended: "MaxThreads", threads: 2, pruned: 0 })
      const dry = { ...options, dryRun: true, maxThreads: 4 }
      const first = yield* run(dry)
      expect(first).toMatchObject({ ended: "MaxThreads", threads: 4, next: id(4) })
      expect(yield* run({ ...dry, from: first.next })).toMatchObject({ ended: "Complete", threads: 2 })
    })
  )

  it.effect("the values of a thread that expires have their grace, and what comes too late is told so", () =>
    Effect.gen(function* () {
      const { id, run } = yield* some
      yield* fill(id(1), 2)
      const [late] = yield* list({ threadId: id(1) })
      const policy = { expireAfter: "3 days" } as const
      expect(yield* on(6)(run({ policy }))).toMatchObject({ deleted: 1, checkpoints: 2, values: 0, waiting: 2 })
      expect(yield* listIds({ threadId: id(1) })).toEqual([])
      expect(
        yield* Effect.flip(put({ threadId: id(1), parentId: "2", checkpoint: checkpoint("3"), newVersions: {} }))
      ).toMatchObject({ _tag: "ThreadDeleted" })
      // What was on its way when the thread expired, and brings nothing along, finds its values.
      yield* put({ threadId: id(1), checkpoint: { ...late!.checkpoint, id: "4" }, newVersions: {} })
      expect((yield* getSome({ threadId: id(1) })).checkpoint.channel_values).toEqual({ a: "2" })
      const longer = { expireAfter: "30 days" } as const
      expect(yield* on(6)(run({ policy: longer, grace: 0 }))).toMatchObject({ deleted: 0, values: 1, waiting: 0 })
      expect((yield* getSome({ threadId: id(1) })).checkpoint.channel_values).toEqual({ a: "2" })
      expect(yield* on(6)(run({ policy, grace: 0 }))).toMatchObject({ deleted: 1, values: 1 })
      expect(yield* on(6)(run({ policy, grace: 0 }))).toMatchObject({ ...nothing, threads: 0 })
    })
  )

  it.effect("a thread whose checkpoints have no date does not expire", () =>
    Effect.gen(function* () {
      const { id, run } = yield* some
      yield* put({ threadId: id(1), checkpoint: checkpoint("1", { ts: "" }) })
      yield* put({ threadId: id(2), checkpoint: checkpoint("1", { ts: "yesterday" }) })
      expect(yield* on(6)(run({ policy: { expireAfter: 0 } }))).toMatchObject({ threads: 2, deleted: 0 })
      for (const n of [1, 2]) expect(yield* listIds({ threadId: id(n) })).toEqual(["1"])
    })
  )
}
