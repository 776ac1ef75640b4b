/**
 * Lists, page by page: each page is one call of the store, which holds nothing between two of them.
 *
 * @internal
 */
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import type { CheckpointTuple, Metadata } from "../Checkpoint.ts"
import { CheckpointerError, type InvalidIdentifier, type SerializationError } from "../CheckpointError.ts"
import type * as Checkpointer from "../Checkpointer.ts"
import type * as Codec from "../Codec.ts"
import * as Filter from "./filter.ts"
import type * as Identifiers from "./identifiers.ts"
import * as Operation from "./operation.ts"
import * as PendingSends from "./pendingSends.ts"
import * as Record from "./record.ts"
import type { PageQuery, Store } from "./store.ts"

/** @internal */
export const list = (
  codec: Codec.Service,
  store: Pick<Store<CheckpointerError>, "page" | "writesTo">,
  options: Checkpointer.ListOptions
): Stream.Stream<CheckpointTuple, Checkpointer.OperationError> => {
  // One stream and nothing around it: each layer of a stream costs as much as reading a few checkpoints.
  return Stream.paginateChunkEffect(start(options), (state) => {
    if (state.failure !== undefined) return state.failure
    return Operation.run(
      "list",
      () => Operation.listAttributes(options),
      (tell) =>
        Effect.flatMap(state.filter ?? check(codec, options), (filter) =>
          Effect.map(nextPage(codec, store, options, state, filter, tell), ({ next, tuples }) => {
            tell.count(tuples.length)
            return [Chunk.unsafeFromArray(tuples), Option.fromNullable(next)] as const
          })
        )
    )
  })
}

/** Where a list has come to. */
interface State {
  readonly after: PageQuery["after"]
  /** How many may still come. */
  readonly left: number
  /** The filter, once all of the options have been checked. */
  readonly filter: Effect.Effect<Filter.Filter | undefined> | undefined
  /** What the next one came to. */
  readonly failure: Effect.Effect<never, SerializationError> | undefined
}

const start = ({ before, limit = Number.POSITIVE_INFINITY }: Checkpointer.ListOptions): State => ({
  after: before,
  left: limit,
  filter: undefined,
  failure: undefined
})

const nextPage = (
  codec: Codec.Service,
  store: Pick<Store<CheckpointerError>, "page" | "writesTo">,
  {
    checkpointId,
    namespace,
    pageSize = defaultPageSize,
    threadId,
    values = true,
    writes = true
  }: Checkpointer.ListOptions,
  { after, left }: State,
  filter: Filter.Filter | undefined,
  tell: Operation.Tell
): Effect.Effect<
  { readonly tuples: ReadonlyArray<CheckpointTuple>; readonly next: State | undefined },
  CheckpointerError
> => {
  if (!(left >= 1)) return Effect.succeed({ tuples: [], next: undefined })
  const size = Math.max(1, Math.floor(Math.min(pageSize, left)) || 1)
  const query = { threadId, namespace, checkpointId, filter: filter?.stored, after, size, values, writes }
  return Effect.flatMap(store.page(query), (rows) => {
    // A value that several checkpoints share was read once.
    tell.values(new Set(rows.flatMap(({ blobs, writes }) => [...blobs, ...writes])))
    const matches = filter?.matches
    const found = matches === undefined ? rows : rows.filter(({ checkpoint }) => matches(checkpoint.metadata))
    const rest = left - found.length
    const last = rows.length < size || rest < 1 ? undefined : rows.at(-1)
    const next = last && {
      after: Record.keyOf(last.checkpoint),
      left: rest,
      filter: Effect.succeed(filter),
      failure: undefined
    }
    return Effect.flatMap(
      values ? Effect.mapError(PendingSends.attach(store, found), ofList) : Effect.succeed(found),
      (whole) => {
        const tuples: Array<CheckpointTuple> = []
        const decodeAll = Effect.forEach(
          whole,
          (each) => Effect.map(Record.toTuple(codec, each, values), (tuple) => tuples.push(tuple)),
          { discard: true }
        )
        // One that can't be decoded is met only after those before it, whatever page they share.
        return Effect.match(decodeAll, {
          onFailure: (error) => ({ tuples, next: { after, left, filter: undefined, failure: Effect.fail(error) } }),
          onSuccess: () => ({ tuples, next })
        })
      }
    )
  })
}

const ofList = ({ cause }: CheckpointerError) => new CheckpointerError({ operation: "list", cause })

// A page of 16 KB values in five channels is then 2.5 MB at most.
const defaultPageSize = 32

/** A filter as the store takes it. @internal */
export const toFilter = (
  codec: Codec.Service,
  filter: Metadata | undefined
): Effect.Effect<Filter.Filter | undefined, SerializationError> => {
  if (filter === undefined) return Effect.succeed(undefined)
  const asked = Object.fromEntries(Object.entries(filter).filter(([, value]) => value !== undefined))
  return Effect.map(Record.encodeObject(codec, asked, { part: "metadata", channel: "" }), Filter.make)
}

const check = (
  codec: Codec.Service,
  { before, checkpointId, filter, namespace, threadId }: Checkpointer.ListOptions
): Effect.Effect<Filter.Filter | undefined, InvalidIdentifier | SerializationError> => {
  const parts: Array<Identifiers.Parts[number]> = []
  if (threadId !== undefined) parts.push(["threadId", threadId])
  if (namespace !== undefined) parts.push(["namespace", namespace, "mayBeEmpty"])
  if (checkpointId !== undefined) parts.push(["checkpointId", checkpointId])
  const valid = Effect.zipRight(
    Record.valid(parts),
    before === undefined ? Effect.void : Record.valid([["before", before]])
  )
  return Effect.zipRight(valid, toFilter(codec, filter))
}
