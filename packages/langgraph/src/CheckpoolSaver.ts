/**
 * LangGraph's checkpointer over `@checkpool/checkpoint`: what a LangGraph.js program makes in the place of
 * `PostgresSaver`. It reads and writes the same tables.
 *
 * It is no long-term memory (LangGraph's `Store`), and it deletes nothing by itself.
 *
 * @since 0.1.0
 */

import { CheckpointerError } from "@checkpool/checkpoint/CheckpointError"
import type * as Checkpointer from "@checkpool/checkpoint/Checkpointer"
import * as Codec from "@checkpool/checkpoint/Codec"
import * as SqlCheckpointer from "@checkpool/checkpoint/SqlCheckpointer"
import type * as ThreadLife from "@checkpool/checkpoint/ThreadLife"
import * as PgPool from "@checkpool/pg/PgPool"
import type { PgPoolConfig } from "@checkpool/pg/PgPoolConfig"
import type * as SqlClient from "@effect/sql/SqlClient"
import * as PgClient from "@effect/sql-pg/PgClient"
import type { RunnableConfig } from "@langchain/core/runnables"
import {
  BaseCheckpointSaver,
  type ChannelVersions,
  type Checkpoint,
  type CheckpointListOptions,
  type CheckpointMetadata,
  type CheckpointTuple,
  type DeltaChannelHistory,
  type PendingWrite,
  type SerializerProtocol
} from "@langchain/langgraph-checkpoint"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as FiberRef from "effect/FiberRef"
import * as FiberRefs from "effect/FiberRefs"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import type * as Runtime from "effect/Runtime"
import type * as Pg from "pg"
import type { MissingIdentifier } from "./CheckpoolSaverError.ts"
import * as Conversion from "./internal/conversion.ts"
import * as Host from "./internal/host.ts"
import * as Versions from "./internal/versions.ts"
import * as LangGraphCodec from "./LangGraphCodec.ts"

/**
 * What can be chosen of any saver.
 *
 * @since 0.1.0
 * @category options
 */
export interface Options extends SqlCheckpointer.Options {
  /**
   * Keys that are copied from a run's `configurable`, or else its `metadata`, to the metadata of its checkpoints, such as
   * `["run_id", "user_id"]`: to filter lists by them. Default: none, as with the stock saver. Beware that LangGraph takes
   * a second call with the `run_id` that the latest checkpoint has for one that resumes that run.
   */
  readonly metadataFrom?: ReadonlyArray<string> | undefined
}

/**
 * What `fromConnString` takes: the pool's options, too.
 *
 * @since 0.1.0
 * @category options
 */
export interface ConnectionOptions extends Options, Omit<PgPoolConfig, "url"> {
  /** What makes bytes of values. Default: `LangGraphCodec.langGraph`, which reads what the stock serializer wrote. */
  readonly serde?: SerializerProtocol | undefined
}

/**
 * What `prune` takes, beside the threads.
 *
 * @since 0.1.0
 * @category options
 */
export interface PruneOptions extends Omit<ThreadLife.PruneOptions, "threadId"> {
  /** As Python's savers call it: thin out the history, or delete the thread. Default: `keep_latest`. */
  readonly strategy?: "keep_latest" | "delete" | undefined
}

/**
 * The options of the pool that differ from those of `PgPool`.
 *
 * @since 0.1.0
 * @category options
 */
export const defaults = {
  /** None is kept, so that a program that doesn't call `end` can exit once they have been idle, as with the stock saver. */
  minConnections: 0,
  /** As many as the stock saver's pool has. */
  maxConnections: 10,
  /** As the stock saver's pool has it. */
  idleTimeout: "10 seconds"
} as const

/**
 * LangGraph's checkpointer in Postgres.
 *
 * Its promises reject with the errors of `@checkpool/checkpoint/CheckpointError` and of `CheckpoolSaverError`. When the
 * run's `signal` is aborted they reject with its reason, and the database is told to stop.
 *
 * @example
 * ```ts
 * import { CheckpoolSaver } from "@checkpool/langgraph"
 *
 * export const checkpointer = CheckpoolSaver.fromConnString("postgresql://localhost:5432/app", { schema: "agents" })
 * // const graph = workflow.compile({ checkpointer })
 * ```
 *
 * @since 0.1.0
 * @category models
 */
export class CheckpoolSaver extends BaseCheckpointSaver {
  readonly #host: Host.Host
  readonly #metadataFrom: ReadonlyArray<string>
  readonly #afterwards: () => Promise<void>

  /**
   * Makes a saver over a `pg.Pool` of yours, as `PostgresSaver` does; `end` ends that pool, too. What our own pool gives
   * is missing then: waiting in order and up to a deadline, prepared statements, a command timeout, the check of a
   * connection that has been silent, typed errors of a full pool, metrics. Prefer `CheckpoolSaver.fromConnString`.
   *
   * Or over a layer that makes a checkpointer, such as `Checkpointer.layerMemory` in a test. `end` closes it. Of the
   * options only `metadataFrom` is used then, and the serializer is given to the layer as its codec.
   */
  constructor(
    source: Pg.Pool | Layer.Layer<Checkpointer.Checkpointer, unknown>,
    serde?: SerializerProtocol,
    options: Options = {}
  ) {
    super(serde ?? LangGraphCodec.toSerializer(LangGraphCodec.langGraph))
    this.#metadataFrom = options.metadataFrom ?? []
    const codec = Layer.succeed(
      Codec.Codec,
      serde === undefined ? LangGraphCodec.langGraph : LangGraphCodec.fromSerializer(serde)
    )
    if (isPool(source)) {
      // Without a listener, an idle connection that breaks would end the process.
      source.on("error", ignore)
      this.#host = Host.make(Layer.provide(overPool(source, options), codec))
      this.#afterwards = async () => (source.ending ? undefined : source.end())
    } else {
      this.#host = Host.make(Layer.provide(source, codec))
      this.#afterwards = async () => {}
    }
  }

  /**
   * Makes a saver with a pool of its own, whose options can be given along with the schema. Nothing is connected yet.
   */
  static fromConnString(connString: string, options: ConnectionOptions = {}): CheckpoolSaver {
    const pool = PgPool.layer({ ...defaults, ...options, url: Redacted.make(connString) })
    return new CheckpoolSaver(overClient(options, pool), options.serde, options)
  }

  /**
   * Makes a saver that uses the `SqlClient` of your application, and its tracer and span: give it your `ManagedRuntime`
   * or a runtime. `end` ends the saver alone.
   */
  static fromRuntime<R, E>(
    runtime: Effect.Effect<Runtime.Runtime<R | SqlClient.SqlClient>, E> | Runtime.Runtime<R | SqlClient.SqlClient>,
    options: Options & Pick<ConnectionOptions, "serde"> = {}
  ): CheckpoolSaver {
    const layer = Layer.unwrapEffect(
      Effect.map(Effect.isEffect(runtime) ? runtime : Effect.succeed(runtime), ({ context, fiberRefs }) => {
        const application = Layer.merge(
          Layer.succeedContext(context as Context.Context<SqlClient.SqlClient>),
          // Its context is there already; this one would push out what else the checkpointer is made of.
          Layer.effectDiscard(Effect.setFiberRefs(FiberRefs.delete(fiberRefs, FiberRef.currentContext)))
        )
        return Layer.provideMerge(SqlCheckpointer.layer(options), application)
      })
    )
    return new CheckpoolSaver(layer, options.serde, options)
  }

  /**
   * A layer that provides a saver over the `SqlClient` at hand: `const saver = yield* Saver`. It ends with the layer.
   */
  static layer(
    options: Options & Pick<ConnectionOptions, "serde"> = {}
  ): Layer.Layer<Saver, SqlCheckpointer.SetupError, SqlClient.SqlClient> {
    return Layer.scoped(
      Saver,
      Effect.flatMap(Effect.runtime<SqlClient.SqlClient>(), (runtime) =>
        Effect.acquireRelease(
          Effect.sync(() => CheckpoolSaver.fromRuntime(runtime, options)),
          (saver) => Effect.promise(() => saver.end())
        )
      ).pipe(
        Effect.tap((saver) =>
          Effect.tryPromise({ try: () => saver.setup(), catch: (error) => error as SqlCheckpointer.SetupError })
        )
      )
    )
  }

  /**
   * Makes the tables or brings them up to date, as far as `options.setup` says, if that has not been done yet. You need not
   * call it: whatever is called first does the same. But a program that does at its start hears of trouble there.
   */
  async setup(): Promise<void> {
    await this.#host.use(() => Effect.void, undefined)
  }

  /**
   * Waits for what is under way and closes the connections. What is called afterwards is rejected with `SaverEnded`.
   */
  async end(): Promise<void> {
    await this.#host.close()
    await this.#afterwards()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.end()
  }

  async getTuple(config: RunnableConfig): Promise<CheckpointTuple | undefined> {
    const which = Conversion.toGet(config)
    if (which === undefined) return undefined
    const found = await this.#host.use((checkpointer) => checkpointer.get(which), config.signal)
    return Option.isNone(found) ? undefined : Conversion.fromTuple(found.value)
  }

  async *list(config: RunnableConfig, options?: CheckpointListOptions): AsyncGenerator<CheckpointTuple> {
    const which = Conversion.toList(config, options)
    for await (const tuple of this.#host.iterate((checkpointer) => checkpointer.list(which), config?.signal)) {
      yield Conversion.fromTuple(tuple)
    }
  }

  async put(
    config: RunnableConfig,
    checkpoint: Checkpoint,
    metadata: CheckpointMetadata,
    newVersions: ChannelVersions
  ): Promise<RunnableConfig> {
    const what = orThrow(Conversion.toPut(config, checkpoint, metadata, newVersions, this.#metadataFrom))
    return Conversion.configOf(await this.#host.use((checkpointer) => checkpointer.put(what), config.signal))
  }

  async putWrites(config: RunnableConfig, writes: PendingWrite[], taskId: string, taskPath?: string): Promise<void> {
    const what = orThrow(Conversion.toPutWrites(config, writes, taskId, taskPath))
    await this.#host.use((checkpointer) => checkpointer.putWrites(what), config.signal)
  }

  async deleteThread(threadId: string): Promise<void> {
    await this.#host.use((checkpointer) => checkpointer.deleteThread(threadId), undefined)
  }

  /**
   * Copies all of a thread, in all namespaces, to a new one. A thread that isn't there is a no-op; a target that has
   * anything is refused with `ThreadExists`.
   */
  async copyThread(sourceThreadId: string, targetThreadId: string): Promise<void> {
    await this.#host.use((checkpointer) => checkpointer.copyThread(sourceThreadId, targetThreadId), undefined)
  }

  /**
   * With the strategy `keep_latest`, thins out the histories of threads, and tells what was removed. What resuming needs
   * always stays: the latest checkpoint of each namespace, writes that nobody has taken in yet, what delta channels are made
   * up of. With `delete` it deletes the threads, and counts nothing. An unknown thread is a no-op.
   */
  async prune(
    threadIds: ReadonlyArray<string>,
    { strategy = "keep_latest", ...options }: PruneOptions = {}
  ): Promise<ThreadLife.PruneReport | undefined> {
    if (strategy === "keep_latest") {
      const reports = await this.#host.use(
        (checkpointer) => Effect.forEach(threadIds, (threadId) => checkpointer.prune({ ...options, threadId })),
        undefined
      )
      return reports.reduce(addReports, nothingPruned)
    }
    for (const threadId of threadIds) await this.deleteThread(threadId)
    return undefined
  }

  /**
   * Removes the checkpoints of certain runs, in all threads: those whose metadata have one of the ids under `run_id`. It is
   * there if runs are called with `configurable: { run_id }` and the saver was made with `metadataFrom: ["run_id"]`.
   */
  async deleteForRuns(runIds: ReadonlyArray<string>): Promise<void> {
    await this.#host.use((checkpointer) => checkpointer.deleteForRuns(runIds), undefined)
  }

  override async getDeltaChannelHistory(options: {
    config: RunnableConfig
    channels: string[]
  }): Promise<Record<string, DeltaChannelHistory>> {
    const { channels, config } = options
    const which = Conversion.toGet(config)
    if (which === undefined) return Conversion.noHistory(channels)
    return Conversion.fromHistory(
      await this.#host.use((checkpointer) => checkpointer.deltaHistory({ ...which, channels }), config.signal)
    )
  }

  /**
   * The version after `current`, of the same kind. Numbers get a fraction by chance, so that two branches of a thread never
   * give their values the same version: they would overwrite each other. Whole numbers of other savers may precede and
   * follow them.
   */
  override getNextVersion(current: number | undefined): number
  override getNextVersion(current: string): string
  override getNextVersion(current: number | string | undefined): number | string {
    return Versions.next(current, Math.random)
  }
}

/**
 * The saver of an application, as `CheckpoolSaver.layer` provides it.
 *
 * @since 0.1.0
 * @category context
 */
export class Saver extends Context.Tag("@checkpool/langgraph/CheckpoolSaver/Saver")<Saver, CheckpoolSaver>() {}

const nothingPruned: ThreadLife.PruneReport = { checkpoints: 0, pendingWrites: 0, values: 0, bytes: 0, waiting: 0 }

const addReports = (a: ThreadLife.PruneReport, b: ThreadLife.PruneReport): ThreadLife.PruneReport => ({
  checkpoints: a.checkpoints + b.checkpoints,
  pendingWrites: a.pendingWrites + b.pendingWrites,
  values: a.values + b.values,
  bytes: a.bytes + b.bytes,
  waiting: a.waiting + b.waiting
})

const isPool = (source: Pg.Pool | Layer.Layer<Checkpointer.Checkpointer, unknown>): source is Pg.Pool =>
  !Layer.isLayer(source)

const ignore = () => {}

const orThrow = <A extends object>(value: A | MissingIdentifier): A => {
  if (value instanceof Error) throw value
  return value as A
}

const overClient = <E>(
  options: Options,
  client: Layer.Layer<SqlClient.SqlClient, E>
): Layer.Layer<Checkpointer.Checkpointer, SqlCheckpointer.SetupError> =>
  Layer.provide(
    SqlCheckpointer.layer(options),
    Layer.catchAll(client, (cause) => Layer.fail(new CheckpointerError({ operation: "setup", cause })))
  )

/** What it has to be told of a foreign pool: how many connections there are to share. */
const overPool = (pool: Pg.Pool, options: Options) => {
  const client = PgClient.layerFromPool({ acquire: Effect.succeed(pool) })
  const groupCommit =
    options.groupCommit === false
      ? false
      : { maxInFlight: Math.max(1, Math.min(3, Math.floor(pool.options.max / 2))), ...options.groupCommit }
  return overClient({ ...options, groupCommit }, client)
}
