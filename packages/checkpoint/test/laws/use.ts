/** Operations of the checkpointer at hand, in few words. */
import { type Checkpoint, Checkpointer } from "@checkpool/checkpoint"
import { Chunk, Effect, Option, Stream } from "effect"

export const put = (
  options: Partial<Checkpointer.PutOptions> & Pick<Checkpointer.PutOptions, "threadId" | "checkpoint">
) =>
  Effect.flatMap(Checkpointer.Checkpointer, (checkpointer) =>
    checkpointer.put({ metadata: {}, newVersions: options.checkpoint.channel_versions, ...options })
  )

export const get = (options: Checkpointer.GetOptions) =>
  Effect.flatMap(Checkpointer.Checkpointer, (checkpointer) => checkpointer.get(options))

export const putWrites = (options: Checkpointer.PutWritesOptions) =>
  Effect.flatMap(Checkpointer.Checkpointer, (checkpointer) => checkpointer.putWrites(options))

export const getSome = (options: Checkpointer.GetOptions) => Effect.map(get(options), Option.getOrThrow)

export const list = (options: Checkpointer.ListOptions) =>
  Effect.flatMap(Checkpointer.Checkpointer, (checkpointer) =>
    Effect.map(Stream.runCollect(checkpointer.list(options)), Chunk.toReadonlyArray)
  )

export const commit = (
  options: Partial<Checkpointer.CommitOptions> & Pick<Checkpointer.CommitOptions, "threadId" | "checkpoint" | "writes">
) =>
  Effect.flatMap(Checkpointer.Checkpointer, (checkpointer) =>
    checkpointer.commit({ metadata: {}, newVersions: options.checkpoint.channel_versions, ...options })
  )

export const deleteThread = (threadId: string) =>
  Effect.flatMap(Checkpointer.Checkpointer, (checkpointer) => checkpointer.deleteThread(threadId))

export const listIds = (options: Checkpointer.ListOptions) =>
  Effect.map(list(options), (tuples) => tuples.map(({ key }) => key.checkpointId))

export const checkpoint = (id: string, fields: Partial<Checkpoint.Checkpoint> = {}): Checkpoint.Checkpoint => ({
  v: 4,
  id,
  ts: "2026-01-02T03:04:05.678Z",
  channel_values: {},
  channel_versions: {},
  versions_seen: {},
  ...fields
})

/** Runs an effect for which it is always that time. */
export const at =
  (now: number) =>
  <A, E, R>(effect: Effect.Effect<A, E, R>) =>
    Effect.flatMap(Effect.clock, (clock) =>
      Effect.withClock(
        effect,
        Object.assign(Object.create(clock), {
          currentTimeMillis: Effect.succeed(now),
          unsafeCurrentTimeMillis: () => now
        })
      )
    )
