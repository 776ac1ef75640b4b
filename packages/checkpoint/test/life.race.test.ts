import { Checkpoint, Checkpointer, type Retention, SqlCheckpointer } from "@checkpool/checkpoint"
import { SqlClient } from "@effect/sql"
import { expect, layer } from "@effect/vitest"
import { Chunk, Context, Deferred, Effect, Either, Fiber, Layer, Stream, TestServices } from "effect"
import { memoMap, pool } from "./database.ts"
import * as Random from "./lanes/random.ts"

/** Seeds of the random schedules: `LIFE_SEEDS=200 vitest …` for a longer run, `LIFE_SEED=17` to begin with that one. */
const seeds = Number(process.env.LIFE_SEEDS ?? 4)
const first = Number(process.env.LIFE_SEED ?? 1)

const channels = ["a", "b"]

/** A checkpoint that names a value of each channel; of those that it doesn't bring it takes over the parent's versions. */
const step = (id: string, parent: Checkpoint.Checkpoint | undefined, bring: ReadonlyArray<string>) => {
  const channel_versions = Object.fromEntries(
    channels.map((channel) => [
      channel,
      parent === undefined || bring.includes(channel) ? `${channel}-${id}` : parent.channel_versions[channel]!
    ])
  )
  const newVersions = Object.fromEntries(
    channels.filter((channel) => parent === undefined || bring.includes(channel)).map((c) => [c, channel_versions[c]!])
  )
  return {
    checkpoint: {
      v: 4,
      id,
      ts: "2026-01-02T03:04:05.678Z",
      channel_values: channel_versions,
      channel_versions,
      versions_seen: {}
    },
    metadata: {},
    newVersions
  }
}

const all = (checkpointer: Checkpointer.Service, threadId: string) =>
  Effect.map(Stream.runCollect(checkpointer.list({ threadId })), Chunk.toReadonlyArray)

/** What is listed and does not have the values that it names: nothing, ever. */
const torn = (checkpointer: Checkpointer.Service, threadId: string) =>
  Effect.map(all(checkpointer, threadId), (tuples) =>
    tuples.flatMap(({ checkpoint: { channel_values, channel_versions }, key }) =>
      channels.every((channel) => channel_values[channel] === channel_versions[channel]) ? [] : [key]
    )
  )

const build = Effect.map(Layer.build(Layer.fresh(SqlCheckpointer.layer())), (context) =>
  Context.get(context, Checkpointer.Checkpointer)
)

/** As if the grace of all that has lost its last name were over. */
const timePasses = Effect.flatMap(
  SqlClient.SqlClient,
  (sql) => sql`UPDATE checkpool_retired_values SET retired_at = retired_at - interval '1 hour'`
)

layer(pool, { memoMap, timeout: "120 seconds" })("threads under concurrent", (it) => {
  it.scoped("pruning keep the values of a fork that was on its way", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const [ours, other] = [yield* build, yield* build]
      const threadId = yield* Checkpoint.makeId
      const first = step("1", undefined, [])
      yield* ours.put({ threadId, ...first })
      yield* ours.put({ threadId, parentId: "1", ...step("2", first.checkpoint, channels) })
      const [written, pruned] = [yield* Deferred.make<void>(), yield* Deferred.make<void>()]
      // A put whose commit takes its time: it has seen its parent, and nobody sees it.
      const fork = yield* Effect.fork(
        sql.withTransaction(
          Effect.all([
            ours.put({ threadId, parentId: "1", ...step("1b", first.checkpoint, []) }),
            Deferred.succeed(written, undefined),
            Deferred.await(pruned)
          ])
        )
      )
      yield* Deferred.await(written)
      expect(yield* other.prune({ threadId })).toMatchObject({ checkpoints: 1, values: 0, waiting: 2 })
      yield* Deferred.succeed(pruned, undefined)
      yield* Fiber.join(fork)
      expect(yield* torn(ours, threadId)).toEqual([])
      yield* timePasses
      expect(yield* other.prune({ threadId, keepLast: 2 })).toMatchObject({ values: 0, waiting: 0 })
      expect((yield* all(ours, threadId)).map(({ key }) => key.checkpointId)).toEqual(["2", "1b"])
      expect(yield* torn(ours, threadId)).toEqual([])
      // Once it is gone as well, its values get a grace of their own.
      expect(yield* other.prune({ threadId })).toMatchObject({ checkpoints: 1, values: 0, waiting: 2 })
      yield* timePasses
      expect(yield* other.prune({ threadId })).toMatchObject({ values: 2, waiting: 0 })
    })
  )

  it.scoped("writers in two checkpointers let one succeed of all that expect the same head", () =>
    Effect.gen(function* () {
      const services = [yield* build, yield* build]
      const threadId = yield* Checkpoint.makeId
      let head: string | null = null
      for (let round = 10; round < 30; round++) {
        const all = yield* Effect.forEach(
          services,
          (checkpointer, i) =>
            Effect.either(checkpointer.put({ threadId, expectHead: head, ...step(`${round}-${i}`, undefined, []) })),
          { concurrency: "unbounded" }
        )
        const won = all.filter(Either.isRight)
        expect(won).toHaveLength(1)
        head = won[0]!.right.checkpointId
      }
    })
  )

  it.scoped(
    "forks, copies, prunes, deletes and puts list only checkpoints that can be read whole",
    () =>
      Effect.gen(function* () {
        const services = [yield* build, yield* build] as const
        for (let seed = first; seed < first + seeds; seed++) {
          const { next, pick } = Random.fromSeed(seed)
          const prefix = yield* Checkpoint.makeId
          const threads = ["x", "y", "z"].map((name) => `${prefix}-${name}`)
          // Now and then it takes everybody's thread for one that nobody has used for long.
          const keeping = (keepLast: number, expires: boolean): Retention.RunOptions => ({
            after: prefix,
            before: `${prefix}-zz`,
            batchSize: 2,
            policy: { prune: { keepLast }, expireAfter: expires ? 0 : undefined }
          })
          for (let round = 0; round < 4; round++) {
            const act = Effect.gen(function* () {
              const [checkpointer, threadId] = [pick(services), pick(threads)]
              const known = yield* all(checkpointer, threadId)
              const [head, some] = [known[0], known.length === 0 ? undefined : pick(known)]
              const id = Checkpoint.after(yield* Checkpoint.makeId, head?.key.checkpointId ?? "")
              const bring = channels.filter(() => next() < 0.5)
              const action = next()
              if (head === undefined || action < 0.3) {
                const parentId = head?.key.checkpointId
                const expectHead = parentId ?? null
                yield* checkpointer.put({ threadId, parentId, expectHead, ...step(id, head?.checkpoint, bring) })
              } else if (action < 0.5) {
                // As a graph forks: it has read the checkpoint a while ago.
                yield* Effect.yieldNow()
                const parentId = some!.key.checkpointId
                yield* checkpointer.put({ threadId, parentId, ...step(id, some!.checkpoint, bring) })
              } else if (action < 0.65) yield* checkpointer.forkAt({ threadId, checkpointId: some!.key.checkpointId })
              else if (action < 0.8) yield* checkpointer.prune({ threadId, keepLast: pick([1, 2, 3]), batchSize: 2 })
              else if (action < 0.9) yield* checkpointer.retain(keeping(pick([1, 2, 3]), next() < 0.3))
              else yield* checkpointer.copyThread(threadId, pick(threads))
              expect({ seed, torn: yield* torn(checkpointer, threadId) }).toEqual({ seed, torn: [] })
            })
            // Who comes too late is told so; that is what these errors are for.
            const expected = Effect.catchTags(act, {
              StaleHead: () => Effect.void,
              ThreadDeleted: () => Effect.void,
              ThreadExists: () => Effect.void
            })
            yield* Effect.replicateEffect(Effect.replicateEffect(expected, 10), 5, { concurrency: "unbounded" })
            // Between two rounds nothing is on its way, so the grace of all values may end.
            yield* timePasses
            for (const threadId of threads) {
              yield* services[1].prune({ threadId, keepLast: 3 })
              expect({ seed, torn: yield* torn(services[0], threadId) }).toEqual({ seed, torn: [] })
            }
            // A plain put of another process may survive a deletion that it overlaps (see the README), so nothing overlaps it.
            if (next() < 0.3) yield* services[0].deleteThread(pick(threads))
          }
        }
      }).pipe(TestServices.provideLive),
    { timeout: 60_000 + seeds * 5_000 }
  )
})
