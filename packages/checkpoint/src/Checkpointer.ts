/**
 * The service that keeps checkpoints: its contract, and the layer in memory, which is the specification of all others.
 *
 * It stores what it is given and finds it again. It does not run graphs, merge states, or decide on versions.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Option from "effect/Option"
import type { ChannelVersions, Checkpoint, CheckpointTuple, Key, Metadata } from "./Checkpoint.ts"
import type { CheckpointerError, InvalidIdentifier, SerializationError } from "./CheckpointError.ts"
import * as Codec from "./Codec.ts"
import * as Order from "./internal/order.ts"
import * as Record from "./internal/record.ts"
import { withChildSpan } from "./internal/span.ts"

/**
 * What can go wrong with a single operation.
 *
 * @since 0.1.0
 * @category errors
 */
export type OperationError = InvalidIdentifier | SerializationError | CheckpointerError

/**
 * What `put` takes.
 *
 * @since 0.1.0
 * @category models
 */
export interface PutOptions {
  readonly threadId: string
  /** Of a sub-graph; the empty string by default. */
  readonly namespace?: string | undefined
  readonly checkpoint: Checkpoint
  readonly metadata: Metadata
  /** The checkpoint that this one continues; none by default. */
  readonly parentId?: string | undefined
  /** The channels whose values are new since the parent, with their versions. Only these values are written. */
  readonly newVersions: ChannelVersions
}

/**
 * What `get` takes.
 *
 * @since 0.1.0
 * @category models
 */
export interface GetOptions {
  readonly threadId: string
  /** Of a sub-graph; the empty string by default. */
  readonly namespace?: string | undefined
  /** The latest checkpoint by default. */
  readonly checkpointId?: string | undefined
}

/**
 * What a checkpointer does. Laws that hold for every layer, for checkpoints of one thread and namespace:
 *
 * 1. After a `put` has succeeded, `get` of its id gives its checkpoint, metadata and parent, until it is put again.
 *    A value read back equals the value put, with what the {@link Codec} says about types; it is a copy.
 * 2. A `put` is whole or not at all, for each reader and after each failure.
 * 3. `get` without an id gives the checkpoint with the greatest id, compared by code point. Whether it was put last
 *    does not matter.
 * 4. A `put` writes the values of the channels in `newVersions`. For other channels of `channel_versions` a reader
 *    gets the value that was put with that version, by whichever checkpoint. Of a version that is put twice the first
 *    value stays.
 * 5. A channel in `newVersions` without a value has none for readers, even if another version has.
 * 6. The value of a channel without a version in `channel_versions` is kept with its checkpoint.
 * 7. The same id put again replaces the checkpoint and its metadata; the parent stays.
 * 8. Threads don't see each other, nor do namespaces of one thread.
 * 9. Pending writes come in the order of task path, task id and index, compared by code point.
 * 10. What can't be kept is refused before anything is written: an identifier with `InvalidIdentifier`, a value with
 *     `SerializationError`.
 *
 * @since 0.1.0
 * @category models
 */
export interface Service {
  /** Stores a checkpoint and gives its key. Atomic and durable when it succeeds. */
  readonly put: (options: PutOptions) => Effect.Effect<Key, OperationError>
  /** Finds a checkpoint: by its id, or the latest one. */
  readonly get: (options: GetOptions) => Effect.Effect<Option.Option<CheckpointTuple>, OperationError>
}

/**
 * The checkpointer of an application. {@link Service} has its laws.
 *
 * @since 0.1.0
 * @category context
 */
export class Checkpointer extends Context.Tag("@checkpool/checkpoint/Checkpointer")<Checkpointer, Service>() {}

/**
 * A checkpointer whose checkpoints live as long as it does. For tests, and for programs that need no durability.
 *
 * @since 0.1.0
 * @category constructors
 */
export const makeMemory: Effect.Effect<Service> = Effect.gen(function* () {
  const codec = yield* Codec.Codec
  const spaces = new Map<string, Space>()

  return {
    put: (options) =>
      withChildSpan(
        "Checkpointer.put",
        () => Record.putAttributes(options),
        (annotate) =>
          Effect.map(Record.fromPut(codec, options), ({ blobs, checkpoint }) => {
            Record.annotateSizes(annotate, blobs)
            const name = spaceName(checkpoint)
            const space = spaces.get(name) ?? { checkpoints: new Map(), blobs: new Map() }
            spaces.set(name, space)
            for (const blob of blobs) {
              const version = blobName(blob.channel, blob.version)
              if (!space.blobs.has(version)) space.blobs.set(version, blob)
            }
            const parentId = space.checkpoints.get(checkpoint.checkpointId)?.parentId
            space.checkpoints.set(
              checkpoint.checkpointId,
              parentId === undefined ? checkpoint : { ...checkpoint, parentId }
            )
            return Record.keyOf(checkpoint)
          })
      ),
    get: (options) =>
      withChildSpan(
        "Checkpointer.get",
        () => Record.getAttributes(options),
        (annotate) =>
          Effect.flatMap(Record.checkGet(options), () => {
            const space = spaces.get(spaceName({ threadId: options.threadId, namespace: options.namespace ?? "" }))
            const id = options.checkpointId ?? latest(space?.checkpoints.keys() ?? [])
            const row = id === undefined ? undefined : space?.checkpoints.get(id)
            if (space === undefined || row === undefined) return Effect.succeedNone
            const blobs = Record.namedBlobs(row).flatMap(([channel, version]) => {
              const blob = space.blobs.get(blobName(channel, version))
              return blob === undefined ? [] : [blob]
            })
            Record.annotateSizes(annotate, blobs)
            return Effect.asSome(Record.toTuple(codec, row, blobs, []))
          })
      )
  } satisfies Service
})

/**
 * A layer with {@link makeMemory}.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerMemory: Layer.Layer<Checkpointer> = Layer.effect(Checkpointer, makeMemory)

// One namespace of one thread.
interface Space {
  readonly checkpoints: Map<string, Record.CheckpointRow>
  readonly blobs: Map<string, Record.BlobRow>
}

// Identifiers hold no NUL, so it can stand between them.
const spaceName = ({ namespace, threadId }: Pick<Key, "namespace" | "threadId">) => `${threadId}\0${namespace}`
const blobName = (channel: string, version: string) => `${channel}\0${version}`

const latest = (ids: Iterable<string>): string | undefined => {
  let greatest: string | undefined
  for (const id of ids) if (greatest === undefined || Order.codePoints(id, greatest) > 0) greatest = id
  return greatest
}
