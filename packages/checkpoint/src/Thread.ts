/**
 * The state of an application, typed by a schema, kept as the checkpoints of a thread.
 *
 * For programs without a graph: an import, a conversation, a saga. Each save is a checkpoint of one channel, `state`; it
 * lies in the same tables as a graph's. This module runs nothing: what a step is, and when it is saved, is yours.
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as ParseResult from "effect/ParseResult"
import * as Random from "effect/Random"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as Checkpoint from "./Checkpoint.ts"
import type { StaleHead } from "./CheckpointError.ts"
import { Checkpointer, type OperationError } from "./Checkpointer.ts"
import type * as ThreadLock from "./ThreadLock.ts"

/**
 * What `make` takes.
 *
 * @since 0.1.0
 * @category options
 */
export interface Options<A, I, RM = never> {
  /** Names the thread. */
  readonly id: string
  readonly state: Schema.Schema<A, I>
  /** Names one of several states of a thread. Default: the empty string. */
  readonly namespace?: string | undefined
  /** The version of the schema; it is saved with each state, for `migrate`. Default 1. */
  readonly version?: number | undefined
  /** Makes what was saved under an earlier version into what the schema decodes now. Default: it is taken as it is. */
  readonly migrate?: ((saved: unknown, version: number) => Effect.Effect<unknown, never, RM>) | undefined
}

/**
 * A state with where it is kept.
 *
 * @since 0.1.0
 * @category models
 */
export interface Saved<A> {
  /** The id of its checkpoint. */
  readonly checkpointId: string
  readonly parentId: Option.Option<string>
  /** When it was saved, as `Date.prototype.toISOString` writes it. */
  readonly ts: string
  readonly state: A
}

/**
 * A saved state that the schema does not take (any more), or one that it can't encode.
 *
 * @since 0.1.0
 * @category errors
 */
export class StateError extends Schema.TaggedError<StateError>("@checkpool/checkpoint/Thread/StateError")(
  "StateError",
  {
    operation: Schema.Literal("encode", "decode"),
    threadId: Schema.String,
    /** The checkpoint that holds the state; of one that was not saved the empty string. */
    checkpointId: Schema.String,
    /** The version of the schema that it was saved under. */
    version: Schema.Number,
    /** The way to the first part that is wrong. */
    path: Schema.Array(Schema.Union(Schema.String, Schema.Number)),
    reason: Schema.String
  }
) {
  override get message(): string {
    const where = this.path.length === 0 ? "" : ` at ${this.path.join(".")}`
    const which = this.checkpointId === "" ? "a new state" : `checkpoint ${JSON.stringify(this.checkpointId)}`
    return (
      `Can't ${this.operation} ${which} of thread ${JSON.stringify(this.threadId)} (schema version ${this.version})${where}: ` +
      `${this.reason}. If the schema has changed, raise its version and give a migrate function.`
    )
  }
}

/**
 * What a thread can do.
 *
 * @since 0.1.0
 * @category models
 */
export interface Thread<A, RM = never> {
  readonly id: string
  /** The latest state. */
  readonly load: Effect.Effect<Option.Option<A>, StateError | OperationError, Checkpointer | RM>
  /** Makes this the latest state, whatever was there. Gives the id of its checkpoint. */
  readonly save: (state: A) => Effect.Effect<string, StateError | OperationError, Checkpointer>
  /**
   * Makes a new state out of the latest one. If somebody else has saved in the meantime it is made again out of that one, up
   * to ten times with growing pauses; then it fails with `StaleHead`.
   */
  readonly update: <E, R>(
    f: (state: Option.Option<A>) => Effect.Effect<A, E, R>
  ) => Effect.Effect<A, E | StateError | OperationError, Checkpointer | RM | R>
  /** All states, the latest first. */
  readonly history: Stream.Stream<Saved<A>, StateError | OperationError, Checkpointer | RM>
  /** An earlier state, by the id of its checkpoint. */
  readonly at: (
    checkpointId: string
  ) => Effect.Effect<Option.Option<Saved<A>>, StateError | OperationError, Checkpointer | RM>
  /** Makes an earlier state the latest one again; what was saved since stays in the history. `None` if it isn't there. */
  readonly forkAt: (checkpointId: string) => Effect.Effect<Option.Option<string>, OperationError, Checkpointer>
  /**
   * Sets how long after the last save `Retention` is to delete the thread whole, all of its states and namespaces, in the
   * place of its policy's `expireAfter`. It may be set before the first save. `Infinity`: never; `undefined`: as the policy
   * says.
   */
  readonly setTtl: (ttl: Duration.DurationInput | undefined) => Effect.Effect<void, OperationError, Checkpointer>
  /** The thread's own time to live, if it has one. */
  readonly ttl: Effect.Effect<Option.Option<Duration.Duration>, OperationError, Checkpointer>
  /** Runs an effect while nobody else who asks for it has the lock of the thread: see `ThreadLock`. */
  readonly withLock: <A, E, R>(
    effect: Effect.Effect<A, E, R>,
    options?: ThreadLock.Options
  ) => Effect.Effect<A, E | ThreadLock.LockError, Exclude<R, ThreadLock.Lease> | Checkpointer>
}

/**
 * Makes a thread. It is a description: nothing is read or written before one of its effects runs.
 *
 * @example
 * ```ts
 * import { Checkpointer, Thread } from "@checkpool/checkpoint"
 * import { Effect, Option, Schema } from "effect"
 *
 * const thread = Thread.make({ id: "import-1", state: Schema.Struct({ done: Schema.Number, at: Schema.Date }) })
 *
 * const program = Effect.gen(function* () {
 *   yield* thread.save({ done: 10, at: new Date(0) })
 *   yield* thread.update((state) =>
 *     Effect.succeed({ done: Option.getOrThrow(state).done + 1, at: new Date(1) })
 *   )
 *   return yield* thread.load
 * })
 *
 * Effect.runPromise(Effect.provide(program, Checkpointer.layerMemory)).then((state) => {
 *   if (Option.getOrThrow(state).done !== 11) throw new Error("lost")
 * })
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <A, I, RM = never>(options: Options<A, I, RM>): Thread<A, RM> => {
  const { id: threadId, migrate, namespace = "", version = 1 } = options
  const place = { threadId, namespace }
  const encode = Schema.encodeEither(options.state)
  const decode = Schema.decodeUnknownEither(options.state)

  const failure =
    (operation: StateError["operation"], checkpointId: string, saved: number) => (error: ParseResult.ParseError) => {
      const [issue] = ParseResult.ArrayFormatter.formatErrorSync(error)
      const path = (issue?.path ?? []).map((key) => (typeof key === "symbol" ? String(key) : key))
      return new StateError({
        operation,
        threadId,
        checkpointId,
        version: saved,
        path,
        reason: issue?.message ?? error.message
      })
    }

  const toSaved = Effect.fnUntraced(function* ({ checkpoint, key, metadata, parentId }: Checkpoint.CheckpointTuple) {
    const saved = typeof metadata.version === "number" ? metadata.version : 1
    const { state: stored } = checkpoint.channel_values
    const current = migrate === undefined || saved === version ? stored : yield* migrate(stored, saved)
    const state = yield* Either.mapLeft(decode(current), failure("decode", key.checkpointId, saved))
    return { checkpointId: key.checkpointId, parentId, ts: checkpoint.ts, state } satisfies Saved<A>
  })

  const get = Effect.fnUntraced(function* (checkpointId: string | undefined) {
    const checkpointer = yield* Checkpointer
    return yield* checkpointer.get({ ...place, checkpointId })
  })

  const put = Effect.fnUntraced(function* (
    state: A,
    head: Option.Option<Checkpoint.CheckpointTuple>,
    expectHead: string | null | undefined
  ) {
    const checkpointer = yield* Checkpointer
    const encoded = yield* Either.mapLeft(encode(state), failure("encode", "", version))
    const before = Option.getOrUndefined(head)
    const count = Math.floor(Number(before?.checkpoint.channel_versions.state ?? 0))
    // Never the version of another branch that goes on from the same state: the first value of a version stays.
    const versions = { state: count + 1 + (yield* Random.nextIntBetween(0, 2 ** 32)) / 2 ** 32 }
    const made = yield* Checkpoint.make({ channel_values: { state: encoded }, channel_versions: versions })
    const parentId = before?.key.checkpointId
    const checkpoint = parentId === undefined ? made : { ...made, id: Checkpoint.after(made.id, parentId) }
    yield* checkpointer.put({
      ...place,
      checkpoint,
      metadata: { source: "thread", version },
      parentId,
      expectHead,
      newVersions: versions
    })
    return checkpoint.id
  })

  const latest = get(undefined)
  return {
    id: threadId,
    load: Effect.flatMap(
      latest,
      Option.match({
        onNone: () => Effect.succeedNone,
        onSome: (tuple) => Effect.map(toSaved(tuple), ({ state }) => Option.some(state))
      })
    ),
    save: (state) => Effect.flatMap(latest, (head) => put(state, head, undefined)),
    update: <E, R>(f: (state: Option.Option<A>) => Effect.Effect<A, E, R>) =>
      Effect.gen(function* () {
        const head = yield* latest
        const before = Option.isNone(head) ? Option.none<A>() : Option.some((yield* toSaved(head.value)).state)
        const state = yield* f(before)
        const expected = Option.match(head, { onNone: () => null, onSome: ({ key }) => key.checkpointId })
        yield* Effect.catchTag(put(state, head, expected), "StaleHead", (error) => Effect.fail(new Conflict(error)))
        return state
      }).pipe(
        Effect.retry({ schedule: conflicts, while: (error) => error instanceof Conflict }),
        Effect.mapError((error) => (error instanceof Conflict ? error.error : error))
      ),
    history: Stream.unwrap(
      Effect.map(Checkpointer, (checkpointer) =>
        Stream.mapEffect(checkpointer.list({ ...place, writes: false }), toSaved)
      )
    ),
    at: (checkpointId) =>
      Effect.flatMap(
        get(checkpointId),
        Option.match({
          onNone: () => Effect.succeedNone,
          onSome: (tuple) => Effect.asSome(toSaved(tuple))
        })
      ),
    forkAt: (checkpointId) =>
      Effect.flatMap(Checkpointer, (checkpointer) =>
        Effect.map(
          checkpointer.forkAt({ ...place, checkpointId }),
          Option.map((key) => key.checkpointId)
        )
      ),
    setTtl: (ttl) => Effect.flatMap(Checkpointer, (checkpointer) => checkpointer.setTtl(threadId, ttl)),
    ttl: Effect.flatMap(Checkpointer, (checkpointer) => checkpointer.ttl(threadId)),
    withLock: (effect, options) =>
      Effect.flatMap(Checkpointer, (checkpointer) => checkpointer.withThreadLock(threadId, effect, options))
  }
}

/** Somebody has saved in the meantime. The application's own `f` may fail with a `StaleHead`, too, of another thread. */
class Conflict {
  readonly error: StaleHead
  constructor(error: StaleHead) {
    this.error = error
  }
}

// Who comes in between has a few milliseconds' lead; with jitter, those who collide once need not do so again.
const conflicts = Schedule.intersect(Schedule.jittered(Schedule.exponential("5 millis")), Schedule.recurs(10))
