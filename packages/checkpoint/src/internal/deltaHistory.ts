/**
 * What the ancestors of a checkpoint have written to a channel since one of them had a value of it.
 *
 * @internal
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { ChannelHistory } from "../Checkpoint.ts"
import type { InvalidIdentifier, SerializationError } from "../CheckpointError.ts"
import type * as Checkpointer from "../Checkpointer.ts"
import type * as Codec from "../Codec.ts"
import * as Record from "./record.ts"
import type * as Rows from "./rows.ts"
import type { Place } from "./store.ts"

/** @internal */
export interface Ancestor {
  /** Text of the checkpoint, if values of the channels may be kept in it. */
  readonly checkpoint: string | undefined
  readonly blobs: ReadonlyArray<Rows.BlobRow>
  /** In any order. */
  readonly writes: ReadonlyArray<Rows.WriteRow>
}

/** @internal */
export const check = (options: Checkpointer.DeltaHistoryOptions): Effect.Effect<Place, InvalidIdentifier> =>
  Effect.zipLeft(
    Record.fromGet(options),
    Effect.forEach(options.channels, (channel) => Record.valid([["channel", channel, "mayBeEmpty"]]), { discard: true })
  )

/** Takes the ancestors from the nearest on. @internal */
export const fromAncestors = Effect.fnUntraced(function* (
  codec: Codec.Service,
  channels: ReadonlyArray<string>,
  ancestors: ReadonlyArray<Ancestor>
): Effect.fn.Return<{ [channel: string]: ChannelHistory }, SerializationError> {
  const seeds = new Map<string, unknown>()
  const rows = new Map(channels.map((channel) => [channel, [] as Rows.WriteRow[]]))
  for (const { blobs, checkpoint, writes } of ancestors) {
    if (seeds.size === channels.length) break
    // From the latest on, like the ancestors themselves; all of it is turned round in the end.
    for (const write of [...writes].sort(Record.byApplication).reverse()) {
      if (!seeds.has(write.channel)) rows.get(write.channel)?.push(write)
    }
    const values = new Map<string, unknown>()
    if (checkpoint !== undefined) {
      const inline = yield* Record.inlineValues(
        codec,
        checkpoint,
        channels.filter((channel) => !seeds.has(channel))
      )
      for (const channel of Object.keys(inline)) values.set(channel, inline[channel])
    }
    for (const { blob, channel, type } of blobs) {
      if (blob !== null && rows.has(channel) && !seeds.has(channel)) {
        values.set(channel, yield* codec.decode({ type, data: blob }, { part: "channel", channel }))
      }
    }
    for (const [channel, value] of values) seeds.set(channel, value)
  }
  const history: { [channel: string]: ChannelHistory } = {}
  for (const channel of channels) {
    const writes = yield* Record.toPendingWrites(codec, rows.get(channel)!.reverse())
    const seed = seeds.has(channel) ? Option.some(seeds.get(channel)) : Option.none()
    Record.define(history, channel, { seed, writes })
  }
  return history
})
