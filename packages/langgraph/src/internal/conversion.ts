/**
 * Between LangGraph's configurations and tuples and the checkpointer's.
 *
 * @internal
 */
import type * as Checkpoint from "@checkpool/checkpoint/Checkpoint"
import type * as Checkpointer from "@checkpool/checkpoint/Checkpointer"
import type { RunnableConfig } from "@langchain/core/runnables"
import type {
  CheckpointListOptions,
  CheckpointMetadata,
  CheckpointPendingWrite,
  CheckpointTuple,
  DeltaChannelHistory,
  Checkpoint as LangGraphCheckpoint,
  PendingWrite
} from "@langchain/langgraph-checkpoint"
import * as Option from "effect/Option"
import { MissingIdentifier } from "../CheckpoolSaverError.ts"

/** What a configuration names; nothing of it has been checked. @internal */
export interface Named {
  readonly threadId: string | undefined
  readonly namespace: string | undefined
  readonly checkpointId: string | undefined
}

/** @internal */
export const named = (config: RunnableConfig | undefined): Named => {
  const { checkpoint_id, checkpoint_ns, thread_id } = config?.configurable ?? {}
  return { threadId: text(thread_id), namespace: text(checkpoint_ns), checkpointId: text(checkpoint_id) || undefined }
}

// Apps number their threads, and the stock saver lets the driver make texts of the numbers.
const text = (id: unknown): string | undefined =>
  typeof id === "number" ? String(id) : ((id ?? undefined) as string | undefined)

/** @internal */
export const configOf = ({ checkpointId, namespace, threadId }: Checkpoint.Key): RunnableConfig => ({
  configurable: { thread_id: threadId, checkpoint_ns: namespace, checkpoint_id: checkpointId }
})

/** @internal */
export const toGet = (config: RunnableConfig): Checkpointer.GetOptions | undefined => {
  const { checkpointId, namespace, threadId } = named(config)
  return threadId === undefined ? undefined : { threadId, namespace, checkpointId }
}

/** @internal */
export const toList = (config: RunnableConfig | undefined, options: CheckpointListOptions = {}) => {
  const { checkpointId, namespace, threadId } = named(config)
  return {
    // As with the stock saver, no thread and the empty one mean all threads.
    threadId: threadId || undefined,
    namespace,
    checkpointId,
    filter: options.filter,
    before: named(options.before).checkpointId,
    limit: options.limit
  } satisfies Checkpointer.ListOptions
}

/** @internal */
export const toPut = (
  config: RunnableConfig,
  checkpoint: LangGraphCheckpoint,
  metadata: CheckpointMetadata,
  newVersions: Checkpoint.ChannelVersions,
  metadataFrom: ReadonlyArray<string>
): Checkpointer.PutOptions | MissingIdentifier => {
  const { checkpointId: parentId, namespace, threadId } = named(config)
  if (threadId === undefined) return new MissingIdentifier({ operation: "put", field: "thread_id" })
  return {
    threadId,
    namespace,
    checkpoint,
    parentId,
    metadata: withMetadataFrom(config, metadata, metadataFrom),
    newVersions
  }
}

/** What the graph itself says about a checkpoint wins over what its run is called with. @internal */
export const withMetadataFrom = (
  config: RunnableConfig,
  metadata: CheckpointMetadata,
  keys: ReadonlyArray<string>
): Checkpoint.Metadata => {
  const found: Record<string, unknown> = {}
  for (const key of keys) {
    const value = config.configurable?.[key] ?? config.metadata?.[key] ?? (key === "run_id" ? config.runId : undefined)
    if (value !== undefined) found[key] = value
  }
  return { ...found, ...metadata }
}

/** @internal */
export const toPutWrites = (
  config: RunnableConfig,
  writes: ReadonlyArray<PendingWrite>,
  taskId: string,
  taskPath: string | undefined
): Checkpointer.PutWritesOptions | MissingIdentifier => {
  const { checkpointId, namespace, threadId } = named(config)
  if (threadId === undefined) return new MissingIdentifier({ operation: "putWrites", field: "thread_id" })
  if (checkpointId === undefined) return new MissingIdentifier({ operation: "putWrites", field: "checkpoint_id" })
  return {
    threadId,
    namespace,
    checkpointId,
    taskId,
    taskPath,
    writes: writes.map(([channel, value]) => ({ channel, value }))
  }
}

/** @internal */
export const fromTuple = (tuple: Checkpoint.CheckpointTuple): CheckpointTuple => ({
  config: configOf(tuple.key),
  // A copy that nobody else holds, so the graph may write to it.
  checkpoint: tuple.checkpoint as LangGraphCheckpoint,
  metadata: tuple.metadata as CheckpointMetadata,
  pendingWrites: tuple.pendingWrites.map(fromWrite),
  ...Option.match(tuple.parentId, {
    onNone: () => ({}),
    onSome: (checkpointId) => ({ parentConfig: configOf({ ...tuple.key, checkpointId }) })
  })
})

/** @internal */
export const fromHistory = (
  histories: Readonly<Record<string, Checkpoint.ChannelHistory>>
): Record<string, DeltaChannelHistory> =>
  Object.fromEntries(
    Object.entries(histories).map(([channel, { seed, writes }]) => [
      channel,
      { writes: writes.map(fromWrite), ...(Option.isSome(seed) ? { seed: seed.value } : {}) }
    ])
  )

/** @internal */
export const noHistory = (channels: ReadonlyArray<string>): Record<string, DeltaChannelHistory> =>
  Object.fromEntries(channels.map((channel) => [channel, { writes: [] }]))

const fromWrite = ({ channel, taskId, value }: Checkpoint.PendingWrite): CheckpointPendingWrite => [
  taskId,
  channel,
  value
]
