/**
 * Between the model and the rows of LangGraph's tables. Both layers go through here, so they store the same things and
 * refuse the same things; what is left to each of them is only where the rows are.
 *
 * @internal
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { Checkpoint, CheckpointTuple, Key, PendingWrite } from "../Checkpoint.ts"
import { InvalidIdentifier, SerializationError } from "../CheckpointError.ts"
import type * as Checkpointer from "../Checkpointer.ts"
import * as Codec from "../Codec.ts"
import * as Identifiers from "./identifiers.ts"
import * as Json from "./json.ts"
import * as Jsonb from "./jsonb.ts"
import * as JsonText from "./jsonText.ts"
import * as Order from "./order.ts"
import * as PendingSends from "./pendingSends.ts"
import { BlobRow, CheckpointRow, type CommitRows, type Found, PutRows, type WriteRow, type WritesRows } from "./rows.ts"
import * as Settled from "./settled.ts"
import * as Size from "./size.ts"

/** @internal */
export const fromPut = Settled.fn(function* (
  codec: Codec.Service,
  options: Checkpointer.PutOptions
): Effect.fn.Return<PutRows, InvalidIdentifier | SerializationError> {
  const { checkpoint, newVersions, threadId } = options
  const namespace = options.namespace ?? ""
  const parentId = options.parentId ?? null
  const thread = Identifiers.measure(threadParts(threadId, namespace))
  if (thread instanceof InvalidIdentifier) return yield* thread
  const invalid =
    Identifiers.check([["checkpointId", checkpoint.id]], thread) ??
    (parentId === null ? undefined : Identifiers.check([["parentId", parentId]], thread))
  if (invalid !== undefined) return yield* invalid

  const encoded = Object.keys(newVersions)
    .sort(Order.codePoints)
    .map((channel) => encodeBlob(codec, options, channel, thread))
  const blobs = yield* Settled.all(encoded)
  const tooLarge = Size.check(blobs)
  if (tooLarge !== undefined) return yield* tooLarge
  const text = encodeCheckpoint(codec, checkpoint)
  const metadata = encodeObject(codec, options.metadata, { part: "metadata", channel: "" })
  return new PutRows(
    new CheckpointRow(
      { threadId, namespace, checkpointId: checkpoint.id },
      parentId,
      Settled.valueOf(text) ?? (yield* text),
      Jsonb.encode(Settled.valueOf(metadata) ?? (yield* metadata))
    ),
    blobs
  )
})

const encodeBlob = (
  codec: Codec.Service,
  { checkpoint, newVersions }: Checkpointer.PutOptions,
  channel: string,
  thread: Identifiers.Measured
): Effect.Effect<BlobRow, InvalidIdentifier | SerializationError> => {
  const version = Identifiers.versionText(newVersions[channel]!)
  if (version instanceof InvalidIdentifier) return version
  const invalid = Identifiers.check(
    [
      ["channel", channel, "mayBeEmpty"],
      ["version", version, "mayBeEmpty"]
    ],
    thread
  )
  if (invalid !== undefined) return invalid
  return Object.hasOwn(checkpoint.channel_values, channel)
    ? Settled.flatMap(
        codec.encode(checkpoint.channel_values[channel], { part: "channel", channel }),
        ({ data, type }) => Effect.succeed(new BlobRow(channel, version, type, data))
      )
    : Effect.succeed(new BlobRow(channel, version, "empty", null))
}

/** @internal */
export const fromPutWrites = Settled.fn(function* (
  codec: Codec.Service,
  options: Checkpointer.PutWritesOptions
): Effect.fn.Return<WritesRows, InvalidIdentifier | SerializationError> {
  const { checkpointId, namespace = "", taskId, taskPath = "", threadId } = options
  const thread = threadParts(threadId, namespace)
  yield* valid([...thread, ["checkpointId", checkpointId], ["taskId", taskId, "mayBeEmpty"]])
  yield* valid([["taskPath", taskPath, "mayBeEmpty"]])
  const rows = new Map<number, WriteRow>()
  for (const [position, { channel, value }] of options.writes.entries()) {
    yield* valid([["channel", channel, "mayBeEmpty"]])
    const { data, type } = yield* codec.encode(value, { part: "channel", channel })
    const idx = specialIndex.get(channel) ?? position
    // Only a special channel can come twice, and there the last one counts.
    rows.set(idx, { taskId, taskPath, idx, channel, type, blob: data })
  }
  const tooLarge = Size.check([...rows.values()])
  if (tooLarge !== undefined) return yield* tooLarge
  return { key: { threadId, namespace, checkpointId }, rows: [...rows.values()].sort((a, b) => a.idx - b.idx) }
})

/** @internal */
export const fromCommit = Settled.fn(function* (
  codec: Codec.Service,
  options: Checkpointer.CommitOptions
): Effect.fn.Return<CommitRows, InvalidIdentifier | SerializationError> {
  const put = yield* fromPut(codec, options)
  const { checkpointId, namespace, threadId } = put.checkpoint
  const writes: Array<WritesRows> = []
  for (const written of options.writes) {
    const key = { threadId, namespace, checkpointId: written.checkpointId ?? checkpointId }
    const rows = yield* fromPutWrites(codec, { ...written, ...key })
    if (rows.rows.length > 0) writes.push(rows)
  }
  const tooLarge = Size.check([...put.blobs, ...writes.flatMap(({ rows }) => rows)])
  if (tooLarge !== undefined) return yield* tooLarge
  return { put, writes }
})

/** Special writes have places of their own, where the last one stays; at a place from zero on the first one does. */
const specialIndex: ReadonlyMap<string, number> = new Map([
  ["__error__", -1],
  ["__scheduled__", -2],
  ["__interrupt__", -3],
  ["__resume__", -4]
])

/** @internal */
export const keyOf = ({ checkpointId, namespace, threadId }: CheckpointRow): Key => ({
  threadId,
  namespace,
  checkpointId
})

/** @internal */
export const fromGet = ({
  checkpointId,
  namespace = "",
  threadId
}: Checkpointer.GetOptions): Effect.Effect<Pick<Key, "threadId" | "namespace">, InvalidIdentifier> => {
  const thread = threadParts(threadId, namespace)
  const parts: Identifiers.Parts = checkpointId === undefined ? thread : [...thread, ["checkpointId", checkpointId]]
  return Identifiers.check(parts) ?? Effect.succeed({ threadId, namespace })
}

/** @internal */
export const toTuple = Settled.fn(function* (
  codec: Codec.Service,
  { blobs, checkpoint: row, sends = [], writes }: Found,
  withValues = true
): Effect.fn.Return<CheckpointTuple, SerializationError> {
  const [checkpoint, inline] = decodeCheckpoint(row.checkpoint)
  const values = withValues && inline !== undefined ? yield* decodeObject(codec, Json.print(inline), inValues) : {}
  for (const { blob, channel, type } of blobs) {
    if (blob === null) continue
    const value = decodeBlob(codec, type, blob, { part: "channel", channel })
    define(values, channel, Settled.valueOf(value) ?? (yield* value))
  }
  if (sends.length > 0) {
    const sent = yield* toPendingWrites(codec, [...sends].sort(byApplication))
    define(
      values,
      PendingSends.tasks,
      sent.map(({ value }) => value)
    )
    define(checkpoint.channel_versions, PendingSends.tasks, PendingSends.version(checkpoint.channel_versions))
  }
  checkpoint.channel_values = values
  const metadata = decodeObject(codec, Jsonb.decode(row.metadata), { part: "metadata", channel: "" })
  return {
    key: keyOf(row),
    parentId: Option.fromNullable(row.parentId),
    checkpoint,
    metadata: Settled.valueOf(metadata) ?? (yield* metadata),
    pendingWrites: writes.length === 0 ? [] : yield* toPendingWrites(codec, [...writes].sort(byApplication))
  }
})

const decodeBlob = (
  codec: Codec.Service,
  type: string,
  blob: Uint8Array | string,
  at: Codec.Location
): Effect.Effect<unknown, SerializationError> =>
  typeof blob !== "string"
    ? codec.decode({ type, data: blob }, at)
    : codec === Codec.json && type === "json"
      ? JsonText.decode(() => blob, at)
      : codec.decode({ type, data: toUtf8.encode(blob) }, at)

/** @internal */
export const toPendingWrites = Settled.fn(function* (
  codec: Codec.Service,
  rows: ReadonlyArray<WriteRow>
): Effect.fn.Return<Array<PendingWrite>, SerializationError> {
  const writes: Array<PendingWrite> = []
  for (const { blob, channel, idx: index, taskId, taskPath, type } of rows) {
    const value = yield* codec.decode({ type, data: blob }, { part: "channel", channel })
    writes.push({ taskId, taskPath, index, channel, value })
  }
  return writes
})

/** Values of these channels that are kept in the checkpoint itself. @internal */
export const inlineValues = (
  codec: Codec.Service,
  checkpoint: string,
  channels: ReadonlyArray<string>
): Effect.Effect<JsonObject, SerializationError> => {
  const [, inline = {}] = decodeCheckpoint(checkpoint)
  const some: JsonObject = {}
  for (const channel of channels) if (Object.hasOwn(inline, channel)) define(some, channel, inline[channel])
  return decodeObject(codec, Json.print(some), inValues)
}

/** The blobs that a checkpoint names, as `jsonb_each_text(checkpoint -> 'channel_versions')` does. @internal */
export const namedBlobs = (row: CheckpointRow): ReadonlyArray<readonly [channel: string, version: string]> =>
  Object.entries(decodeCheckpoint(row.checkpoint)[0].channel_versions).flatMap(([channel, version]) => {
    const text = Identifiers.versionText(version)
    return text instanceof InvalidIdentifier ? [] : [[channel, text] as const]
  })

const threadParts = (threadId: string, namespace: string): Identifiers.Parts => [
  ["threadId", threadId],
  ["namespace", namespace, "mayBeEmpty"]
]

/** @internal */
export const valid = (parts: Identifiers.Parts): Effect.Effect<void, InvalidIdentifier> => {
  const error = Identifiers.check(parts)
  return error === undefined ? Effect.void : Effect.fail(error)
}

const encodeCheckpoint = (codec: Codec.Service, checkpoint: Checkpoint): Effect.Effect<string, SerializationError> => {
  const { channel_values, channel_versions } = checkpoint
  const inline: JsonObject = {}
  for (const channel of Object.keys(channel_values)) {
    if (!Object.hasOwn(channel_versions, channel)) define(inline, channel, channel_values[channel])
  }
  const encoded = JsonText.encodeWithout(checkpoint, "channel_values", { part: "checkpoint", channel: "" })
  const text = Settled.valueOf(encoded)
  if (text === undefined) return encoded
  if (Object.keys(inline).length === 0) return Effect.succeed(Jsonb.encode(text))
  return Effect.mapBoth(encodeObject(codec, inline, { part: "channel", channel: "" }), {
    onFailure: ({ cause, operation, part, path: [channel = "", ...path], reason }) =>
      new SerializationError({ operation, part, channel: String(channel), path, reason, cause }),
    onSuccess: (values) => Jsonb.encode(`${text.slice(0, -1)},"channel_values":${values}}`)
  })
}

type Mutable<A> = { -readonly [K in keyof A]: A[K] }

/** Without values, and those that are kept in it itself, as they are stored. */
const decodeCheckpoint = (stored: string): [checkpoint: Mutable<Checkpoint>, inline: JsonObject | undefined] => {
  const text = Jsonb.decode(stored)
  const parsed = JSON.parse(text)
  const inline = parsed.channel_values
  parsed.channel_values = {}
  const checkpoint = text.includes('"lc"') ? Json.revive(parsed) : parsed
  if (checkpoint.channel_versions === undefined) checkpoint.channel_versions = {}
  if (checkpoint.versions_seen === undefined) checkpoint.versions_seen = {}
  return [checkpoint, inline]
}

/** The text of an object for a JSONB column. @internal */
export const encodeObject = (
  codec: Codec.Service,
  value: unknown,
  at: Codec.Location
): Effect.Effect<string, SerializationError> => {
  if (codec === Codec.json && !Json.isBytes(value)) return JsonText.encode(value, at)
  return Settled.flatMap(codec.encode(value, at), ({ data, type }) => {
    if (type === "json") return Effect.succeed(fromUtf8.decode(data))
    const reason = `the codec made ${JSON.stringify(type)} of it, but what is stored in a JSONB column must be "json"`
    return new SerializationError({ operation: "encode", ...at, path: [], reason })
  })
}

const decodeObject = (
  codec: Codec.Service,
  text: string,
  at: Codec.Location
): Effect.Effect<JsonObject, SerializationError> =>
  decodeBlob(codec, "json", text, at) as Effect.Effect<JsonObject, SerializationError>

/** The order in which a graph applies writes. @internal */
export const byApplication = (a: WriteRow, b: WriteRow): number =>
  Order.codePoints(a.taskPath, b.taskPath) || Order.codePoints(a.taskId, b.taskId) || a.idx - b.idx

/** Also where the key is "__proto__", which as an assignment would mean something else. @internal */
export const define = (object: object, key: string, value: unknown): void => {
  if (key !== "__proto__") (object as JsonObject)[key] = value
  else Object.defineProperty(object, key, { value, configurable: true, enumerable: true, writable: true })
}

const inValues: Codec.Location = { part: "channel", channel: "" }

type JsonObject = { [key: string]: unknown }

const toUtf8 = new TextEncoder()
const fromUtf8 = new TextDecoder()
