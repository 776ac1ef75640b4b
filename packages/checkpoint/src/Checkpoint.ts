/**
 * The model: what a checkpoint is and what a reader gets back.
 *
 * Inside a checkpoint the names are LangGraph's (`channel_values`, …), because that is what lies in the database and
 * what other tools read. Around it (keys, results) they are this library's. This module knows no storage.
 *
 * @since 0.1.0
 */
import type * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import { globalValue } from "effect/GlobalValue"
import type * as Option from "effect/Option"
import type * as Random from "effect/Random"

/**
 * The version of a channel's value: LangGraph.js counts in numbers, Python in strings that sort.
 *
 * @since 0.1.0
 * @category models
 */
export type ChannelVersion = number | string

/**
 * The version of each channel, by the channel's name.
 *
 * @since 0.1.0
 * @category models
 */
export type ChannelVersions = { readonly [channel: string]: ChannelVersion }

/**
 * The state of a thread after one step.
 *
 * @since 0.1.0
 * @category models
 */
export interface Checkpoint {
  /** The version of this format: 4. Older ones may be read from an existing database. */
  readonly v: number
  /** A UUID of version 6, so that ids sort by time. See {@link makeId}. */
  readonly id: string
  /** When the step ended, as `Date.prototype.toISOString` writes it. */
  readonly ts: string
  /** The value of each channel. */
  readonly channel_values: { readonly [channel: string]: unknown }
  /** The version of each channel's value. */
  readonly channel_versions: ChannelVersions
  /** For each node, the versions of the channels that it has seen. */
  readonly versions_seen: { readonly [node: string]: ChannelVersions }
}

/**
 * What is known about a checkpoint beside its state: source, step, run, tags. A JSON object.
 *
 * @since 0.1.0
 * @category models
 */
export type Metadata = { readonly [key: string]: unknown }

/**
 * The name of one checkpoint.
 *
 * @since 0.1.0
 * @category models
 */
export interface Key {
  readonly threadId: string
  /** Sub-graphs keep their checkpoints in namespaces of their own; the outermost one is the empty string. */
  readonly namespace: string
  readonly checkpointId: string
}

/**
 * What a task has written on top of a checkpoint, before the next checkpoint took it in.
 *
 * @since 0.1.0
 * @category models
 */
export interface PendingWrite {
  readonly taskId: string
  /** Where the task stands in the graph; writes of one step are applied in the order of their paths. */
  readonly taskPath: string
  /** The place among the task's writes; below zero for LangGraph's special channels. */
  readonly index: number
  readonly channel: string
  readonly value: unknown
}

/**
 * A stored checkpoint with all that belongs to it.
 *
 * @since 0.1.0
 * @category models
 */
export interface CheckpointTuple {
  readonly key: Key
  /** The id of the checkpoint that this one continues, in the same thread and namespace. */
  readonly parentId: Option.Option<string>
  readonly checkpoint: Checkpoint
  readonly metadata: Metadata
  /** In the order in which a graph applies them: by task path, task id and index, compared by code point. */
  readonly pendingWrites: ReadonlyArray<PendingWrite>
}

/**
 * What has become of a channel up to a checkpoint, for channels whose value is not stored at each step: the last value
 * that was stored, and what was written since.
 *
 * @since 0.1.0
 * @category models
 */
export interface ChannelHistory {
  /** The value at the nearest ancestor that has one. */
  readonly seed: Option.Option<unknown>
  /** The writes to the channel from that ancestor, or from the first one, down to the parent; the oldest first. */
  readonly writes: ReadonlyArray<PendingWrite>
}

/**
 * Makes an id for a checkpoint: a UUID of version 6. Each id is greater than all that this process made before from
 * the same `Clock`, even if the clock stands still or is set back.
 *
 * @since 0.1.0
 * @category constructors
 */
export const makeId: Effect.Effect<string> = Effect.clockWith((clock) =>
  Effect.randomWith((random) => id(clock, random))
)

/**
 * Makes a checkpoint with a fresh id and the present time. What is left out is empty.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  fields: Partial<Pick<Checkpoint, "channel_values" | "channel_versions" | "versions_seen">> = {}
): Effect.Effect<Checkpoint> =>
  Effect.clockWith((clock) =>
    Effect.randomWith((random) =>
      Effect.zipWith(id(clock, random), clock.currentTimeMillis, (id, now) => ({
        v: 4,
        id,
        ts: new Date(now).toISOString(),
        channel_values: fields.channel_values ?? {},
        channel_versions: fields.channel_versions ?? {},
        versions_seen: fields.versions_seen ?? {}
      }))
    )
  )

/**
 * Gives the id itself if it is greater than another one, or else one of the same process that is: ids of another machine
 * may be ahead of this one's clock. Both have to be UUIDs of version 6; if one isn't, the id is given as it is.
 *
 * @since 0.1.0
 * @category combinators
 */
export const after = (id: string, other: string): string => {
  if (!version6.test(id) || !version6.test(other) || id > other) return id
  return withTicks(BigInt(`0x${other.slice(0, 8)}${other.slice(9, 13)}${other.slice(15, 18)}`) + 1n, id.slice(18))
}

const version6 = /^[0-9a-f]{8}-[0-9a-f]{4}-6[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}$/

// One state for each clock, so that a test's clock is not held up by the ids that were made in real time.
const lastTicks = globalValue("@checkpool/checkpoint/Checkpoint/lastTicks", () => new WeakMap<Clock.Clock, bigint>())

// Ticks are of 100 ns and begin with the Gregorian calendar, on 1582-10-15.
const gregorian = 122_192_928_000_000_000n

const id = (clock: Clock.Clock, random: Random.Random): Effect.Effect<string> =>
  Effect.map(Effect.zip(random.nextIntBetween(0, 2 ** 14), random.nextIntBetween(0, 2 ** 48)), ([sequence, node]) => {
    const now = BigInt(Math.floor(clock.unsafeCurrentTimeMillis())) * 10_000n + gregorian
    const last = lastTicks.get(clock)
    const ticks = last !== undefined && now <= last ? last + 1n : now
    lastTicks.set(clock, ticks)
    return withTicks(ticks, `-${(0x8000 | sequence).toString(16)}-${node.toString(16).padStart(12, "0")}`)
  })

const withTicks = (ticks: bigint, rest: string): string => {
  const time = ticks.toString(16).padStart(15, "0")
  return `${time.slice(0, 8)}-${time.slice(8, 12)}-6${time.slice(12)}${rest}`
}
