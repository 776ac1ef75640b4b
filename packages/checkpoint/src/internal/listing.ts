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
import * as PendingSends from "./pendingSends.ts"
import * as Record from "./record.ts"
import * as Span from "./span.ts"
import type { PageQuery, Store } from "./store.ts"

/** @internal */
export const list = (
  codec: Codec.Service,
  store: Pick<Store<CheckpointerError>, "page" | "writesTo">,
  options: Checkpointer.ListOptions
): Stream.Stream<CheckpointTuple, Checkpointer.OperationError> => {
  const { pageSize = defaultPageSize, values = true, writes = true } = options
  const most = options.limit ?? Number.POSITIVE_INFINITY
  const page = (after: PageQuery["after"], left: number, filter: Filter.Filter | undefined) => {
    const size = Math.max(1, Math.min(Math.floor(pageSize) || 1, Math.floor(left)))
    const { checkpointId, namespace, threadId } = options
    return Span.withChildSpan(
      "Checkpointer.list",
      () => Span.listAttributes(options),
      (annotate) =>
        Effect.flatMap(
          store.page({ threadId, namespace, checkpointId, filter: filter?.stored, after, size, values, writes }),
          (rows) => {
            const found =
              filter?.matches === undefined
                ? rows
                : rows.filter(({ checkpoint }) => filter.matches!(checkpoint.metadata))
            annotate("checkpoint.count", found.length)
            const last = rows.length < size ? undefined : rows.at(-1)
            const rest = left - found.length
            const next =
              last === undefined || rest < 1 ? undefined : { after: Record.keyOf(last.checkpoint), left: rest }
            return Effect.map(
              values ? Effect.mapError(PendingSends.attach(store, found), ofList) : Effect.succeed(found),
              (whole) => [Chunk.unsafeFromArray(whole), Option.fromNullable(next)] as const
            )
          }
        )
    )
  }
  const pages = Effect.map(fromList(codec, options), (filter) =>
    most >= 1
      ? Stream.paginateChunkEffect({ after: options.before as PageQuery["after"], left: most }, ({ after, left }) =>
          page(after, left, filter)
        )
      : Stream.empty
  )
  // One by one, so that one that can't be decoded is met only after those before it.
  return Stream.mapEffect(Stream.unwrap(pages), (found) => Record.toTuple(codec, found, values))
}

const ofList = ({ cause }: CheckpointerError) => new CheckpointerError({ operation: "list", cause })

// A page of 16 KB values in five channels is then 2.5 MB at most.
const defaultPageSize = 32

const fromList = (
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
  return Effect.zipRight(valid, filter === undefined ? Effect.succeed(undefined) : encodeFilter(codec, filter))
}

const encodeFilter = (codec: Codec.Service, filter: Metadata) => {
  const asked = Object.fromEntries(Object.entries(filter).filter(([, value]) => value !== undefined))
  return Effect.map(Record.encodeObject(codec, asked, { part: "metadata", channel: "" }), Filter.make)
}
