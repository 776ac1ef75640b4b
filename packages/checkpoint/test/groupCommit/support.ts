import { Checkpointer, SqlCheckpointer } from "@checkpool/checkpoint"
import { expect } from "@effect/vitest"
import { Context, Effect, Layer, Option } from "effect"
import { recorder } from "../spans.ts"

/** A put whose parts all carry the same mark, so that what is found can be told to be whole. */
export const marked = (threadId: string, id: string, mark: string, metadata: Record<string, unknown> = {}) => ({
  threadId,
  checkpoint: {
    v: 4,
    id,
    ts: mark,
    channel_values: { a: mark, b: mark },
    channel_versions: { a: mark, b: mark },
    versions_seen: {}
  },
  metadata: { mark, ...metadata },
  newVersions: { a: mark, b: mark }
})

/** The mark of a thread's checkpoint, if it is whole; of the latest one without an id. */
export const markOf = (checkpointer: Checkpointer.Service, threadId: string, checkpointId?: string) =>
  Effect.map(
    checkpointer.get({ threadId, checkpointId }),
    Option.map(({ checkpoint: { channel_values, ts }, metadata }) => {
      expect([channel_values.a, channel_values.b, metadata.mark]).toEqual([ts, ts, ts])
      return ts
    })
  )

/** A checkpointer of the test's own over the client at hand, and the statements that it sends. */
export const observed = (options: SqlCheckpointer.Options = {}) =>
  Effect.gen(function* () {
    const { spans, tracer } = yield* recorder
    const services = yield* Effect.withTracer(Layer.build(SqlCheckpointer.layer(options)), tracer)
    spans.length = 0
    return { checkpointer: Context.get(services, Checkpointer.Checkpointer), spans, tracer }
  })

export const inParallel = { concurrency: "unbounded" } as const
