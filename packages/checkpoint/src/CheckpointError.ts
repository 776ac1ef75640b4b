/**
 * What can go wrong with a checkpoint, in types: each error has fields for programs and a message for people.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"

/**
 * An identifier that the database can't hold. It is refused rather than escaped: an escaped id would be a different
 * id for every other reader of the same tables.
 *
 * @since 0.1.0
 * @category errors
 */
export class InvalidIdentifier extends Schema.TaggedError<InvalidIdentifier>(
  "@checkpool/checkpoint/CheckpointError/InvalidIdentifier"
)("InvalidIdentifier", {
  /** Which one: `threadId`, `namespace`, `checkpointId`, `parentId`, `channel`, `version`, `taskId`, `taskPath`, `before`, `schema`, … */
  field: Schema.String,
  reason: Schema.Literal("NotAString", "Empty", "Nul", "LoneSurrogate", "TooLong", "NotFinite", "NotAfterHead"),
  /** The identifier, cut to 64 characters. */
  value: Schema.String
}) {
  override get message(): string {
    const why =
      this.field === "schema" && this.reason === "TooLong"
        ? "is longer than the 63 bytes that Postgres keeps of a name; give it a shorter one"
        : identifierReasons[this.reason]
    return `${this.field} ${JSON.stringify(this.value)} ${why}`
  }
}

/**
 * A value that can't be written, or can't be read back, without a loss.
 *
 * @since 0.1.0
 * @category errors
 */
export class SerializationError extends Schema.TaggedError<SerializationError>(
  "@checkpool/checkpoint/CheckpointError/SerializationError"
)("SerializationError", {
  operation: Schema.Literal("encode", "decode"),
  /** Which part of a checkpoint the value belongs to. */
  part: Schema.Literal("channel", "metadata", "checkpoint"),
  /** The channel's name; empty when the value belongs to no channel. */
  channel: Schema.String,
  /** The way from the channel's value to the offending one. */
  path: Schema.Array(Schema.Union(Schema.String, Schema.Number)),
  /** What is wrong and what to try. */
  reason: Schema.String,
  cause: Schema.optional(Schema.Defect)
}) {
  override get message(): string {
    const where = this.part === "channel" ? `channel ${JSON.stringify(this.channel)}` : `the ${this.part}`
    const path = this.path.length === 0 ? "" : ` at ${showPath(this.path)}`
    return `Can't ${this.operation} ${where}${path}: ${this.reason}`
  }
}

/**
 * The tables are older than this library needs.
 *
 * @since 0.1.0
 * @category errors
 */
export class SchemaOutdated extends Schema.TaggedError<SchemaOutdated>(
  "@checkpool/checkpoint/CheckpointError/SchemaOutdated"
)("SchemaOutdated", {
  /** The database schema that holds the tables. */
  schema: Schema.String,
  /** Where the version was looked for: LangGraph's tables are numbered in the first, this library's own in the second. */
  table: Schema.Literal("checkpoint_migrations", "checkpool_migrations"),
  /** The version found there, of LangGraph's tables in its Python saver's numbering; -1 when there are no tables. */
  have: Schema.Int,
  need: Schema.Int
}) {
  override get message(): string {
    const whose = this.table === "checkpoint_migrations" ? "checkpoint tables" : "tables of checkpool's own"
    const found = this.have < 0 ? `has no ${whose}` : `has ${whose} of version ${this.have}`
    return (
      `Schema ${JSON.stringify(this.schema)} ${found}, but version ${this.need} is needed. ` +
      `Build the layer once with { setup: "migrate" }, as a user that may alter these tables, or run setupScript.`
    )
  }
}

/** The operations that write. */
const writes = [
  "put",
  "putWrites",
  "commit",
  "deleteThread",
  "copyThread",
  "forkAt",
  "deleteForRuns",
  "prune",
  "setTtl",
  "retain",
  "withThreadLock"
] as const

/**
 * The database did not do what it was asked. The `cause` is the client's error (a `SqlError`), so that what a pool or
 * a server said can be found in it.
 *
 * @since 0.1.0
 * @category errors
 */
export class CheckpointerError extends Schema.TaggedError<CheckpointerError>(
  "@checkpool/checkpoint/CheckpointError/CheckpointerError"
)("CheckpointerError", {
  operation: Schema.Literal("setup", "get", "list", "deltaHistory", "threads", "prunePlan", "ttl", ...writes),
  cause: Schema.Defect
}) {
  override get message(): string {
    return `Checkpointer.${this.operation} failed: ${showCause(this.cause)}`
  }
}

/**
 * What was to be written continues a checkpoint that is gone because its thread was deleted, or pruned: nothing of it is
 * stored. To begin the thread anew, put a checkpoint without a parent.
 *
 * @since 0.1.0
 * @category errors
 */
export class ThreadDeleted extends Schema.TaggedError<ThreadDeleted>(
  "@checkpool/checkpoint/CheckpointError/ThreadDeleted"
)("ThreadDeleted", {
  operation: Schema.Literal("put", "putWrites", "commit"),
  threadId: Schema.String
}) {
  override get message(): string {
    return (
      `Checkpointer.${this.operation} came too late: thread ${JSON.stringify(this.threadId)} was deleted or pruned, and with ` +
      "that the checkpoint that this continues. Stop the run that still writes to it, or begin anew with a checkpoint without a parent."
    )
  }
}

/**
 * More was asked for than the database takes in: the operation was not begun, and nothing of it is stored.
 *
 * @since 0.1.0
 * @category errors
 */
export class CheckpointerOverloaded extends Schema.TaggedError<CheckpointerOverloaded>(
  "@checkpool/checkpoint/CheckpointError/CheckpointerOverloaded"
)("CheckpointerOverloaded", {
  operation: Schema.Literal(...writes),
  /** `QueueFull`: it was turned away at once. `TimedOut`: its turn didn't come within the time that it may wait. */
  reason: Schema.Literal("QueueFull", "TimedOut"),
  /** How long it waited, in milliseconds. */
  waited: Schema.Number,
  /** How many operations wait now, and their size. */
  queued: Schema.Int,
  queuedBytes: Schema.Number,
  /** How many batches are on their way to the database. */
  inFlight: Schema.Int
}) {
  override get message(): string {
    const queue =
      `${this.queued} operations (${this.queuedBytes} bytes) wait for the database ` +
      `and ${this.inFlight} batches are on their way to it`
    return this.reason === "QueueFull"
      ? `Checkpointer.${this.operation} was turned away: ${queue}. Write less at a time or try again later; ` +
          "groupCommit.maxQueued and maxQueuedBytes are the bounds."
      : `Checkpointer.${this.operation} was not begun within ${Math.round(this.waited)} ms: ${queue}. ` +
          "Look for what keeps the database busy, write less at a time, or raise groupCommit.timeout."
  }
}

/**
 * Somebody else has gone on in the meantime: the latest checkpoint is another one than expected. Nothing was stored. Load
 * what is there now, and decide anew.
 *
 * @since 0.1.0
 * @category errors
 */
export class StaleHead extends Schema.TaggedError<StaleHead>("@checkpool/checkpoint/CheckpointError/StaleHead")(
  "StaleHead",
  {
    threadId: Schema.String,
    namespace: Schema.String,
    /** The id that the caller took for the latest; `null`: it took it that there was none. */
    expected: Schema.NullOr(Schema.String),
    /** The latest one; `null` if there is none. */
    actual: Schema.NullOr(Schema.String)
  }
) {
  override get message(): string {
    const name = (id: string | null) => (id === null ? "no checkpoint at all" : `checkpoint ${JSON.stringify(id)}`)
    return (
      `Thread ${JSON.stringify(this.threadId)} has gone on: ${name(this.expected)} was expected to be the latest, but ` +
      `it is ${name(this.actual)}. Load it and decide anew.`
    )
  }
}

/**
 * A thread that was to be made is there already. Nothing was changed.
 *
 * @since 0.1.0
 * @category errors
 */
export class ThreadExists extends Schema.TaggedError<ThreadExists>(
  "@checkpool/checkpoint/CheckpointError/ThreadExists"
)("ThreadExists", { threadId: Schema.String }) {
  override get message(): string {
    return `Thread ${JSON.stringify(this.threadId)} exists already. Copy to a new id, or delete it first.`
  }
}

/**
 * Somebody else holds the lock of a thread. What was to be done under it was not begun.
 *
 * @since 0.1.0
 * @category errors
 */
export class ThreadLocked extends Schema.TaggedError<ThreadLocked>(
  "@checkpool/checkpoint/CheckpointError/ThreadLocked"
)("ThreadLocked", {
  threadId: Schema.String,
  /** The name that the holder has given itself; `null` if it came at this very moment, and is not known yet. */
  holder: Schema.NullOr(Schema.String),
  /**
   * When its lease ends unless it is renewed, in milliseconds. 0: it is over, and what was written under it is still on its
   * way; or not known yet.
   */
  expiresIn: Schema.Number,
  /** How long the lock was waited for, in milliseconds. */
  waited: Schema.Number
}) {
  override get message(): string {
    const holder = this.holder === null ? "Somebody who has just come" : JSON.stringify(this.holder)
    const lease =
      this.expiresIn > 0
        ? `; the lease ends in ${Math.ceil(this.expiresIn)} ms unless it is renewed`
        : this.holder === null
          ? ""
          : "; the lease is over, but what was written under it is still on its way"
    return (
      `${holder} holds the lock of thread ${JSON.stringify(this.threadId)}${lease}. ` +
      `It was waited for ${Math.round(this.waited)} ms. Try again later, or let withThreadLock wait longer.`
    )
  }
}

/**
 * The lease on a thread ended before what was to be done under it. A write that fails with this has stored nothing, unless
 * it had to be sent again because a connection was lost.
 *
 * @since 0.1.0
 * @category errors
 */
export class LeaseLost extends Schema.TaggedError<LeaseLost>("@checkpool/checkpoint/CheckpointError/LeaseLost")(
  "LeaseLost",
  {
    threadId: Schema.String,
    /** The fencing token of the lease. */
    token: Schema.Number,
    /**
     * - `TakenOver`: it was over, and somebody else has taken the lock since.
     * - `NotRenewed`: the database could not be reached for as long as it lasts; somebody else may have the lock by now.
     * - `Released`: its `withThreadLock` has ended, and a fiber that was begun in it still writes.
     */
    reason: Schema.Literal("TakenOver", "NotRenewed", "Released"),
    /** How long ago the lock was taken, in milliseconds. */
    age: Schema.Number,
    /** Why it was not renewed. */
    cause: Schema.optional(Schema.Defect)
  }
) {
  override get message(): string {
    const why = this.cause === undefined ? "" : ` (${showCause(this.cause)})`
    return (
      `The lease on thread ${JSON.stringify(this.threadId)} (token ${this.token}), taken ${Math.round(this.age)} ms ago, ` +
      `is lost: ${leaseReasons[this.reason][0]}${why}. ${leaseReasons[this.reason][1]}`
    )
  }
}

const leaseReasons: { readonly [K in LeaseLost["reason"]]: readonly [what: string, advice: string] } = {
  TakenOver: [
    "it was not renewed in time, and somebody else has taken the lock",
    "Load the thread and decide anew; if this process stood still for long, raise `lease`."
  ],
  NotRenewed: [
    "the database did not answer for as long as the lease lasts",
    "Somebody else may have the lock by now: load the thread and decide anew. Look for what cuts the connections, or raise `lease`."
  ],
  Released: [
    "its withThreadLock has ended, and this write came after that",
    "Await in it what writes, or fork it in a way that ends with it."
  ]
}

const identifierReasons: { readonly [K in InvalidIdentifier["reason"]]: string } = {
  NotAString: "is not a string",
  Empty: "is empty; give it at least one character",
  Nul: "holds a NUL character, which Postgres can't store in a text; leave it out",
  LoneSurrogate:
    "holds half of a surrogate pair, which has no UTF-8 form; was a string cut in the middle of a character?",
  TooLong:
    "makes a key of more than 2600 bytes together with the other identifiers, and Postgres can't index that; use a hash",
  NotAfterHead:
    "does not come after the checkpoint that it is to replace as the latest, by code point; make it with Checkpoint.after",
  NotFinite: "is not a finite number, so it has no place in the order of versions"
}

const showPath = (path: ReadonlyArray<string | number>): string =>
  path.length > 20 ? `${showKeys(path.slice(0, 15))}…${showKeys(path.slice(-5))}` : showKeys(path)

const showKeys = (path: ReadonlyArray<string | number>): string =>
  path
    .map((key) => (typeof key === "string" && /^[A-Za-z_$][\w$]*$/.test(key) ? `.${key}` : `[${JSON.stringify(key)}]`))
    .join("")

// The client's own message is general ("Failed to execute statement"); what happened is further in.
const showCause = (cause: unknown): string => {
  const messages: Array<string> = []
  let error = cause
  while (error instanceof Error && messages.length < 4) {
    if (error.message !== "" && !messages.includes(error.message)) messages.push(error.message)
    error = error.cause
  }
  return messages.length === 0 ? String(cause) : messages.join(": ")
}
