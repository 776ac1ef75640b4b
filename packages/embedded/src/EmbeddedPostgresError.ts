/**
 * The one error of the embedded server: a reason for programs, a message for people. No message holds a password.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"

/**
 * What went wrong, as a value to branch on.
 *
 * - `UnsupportedPlatform`: there are no server binaries for this machine, or they can't run here
 * - `InvalidOptions`: an option can't be used as it is
 * - `DataDirNotWritable`: the data folder can't be created, entered or written
 * - `DataDirInUse`: another server runs on the data folder
 * - `IncompatibleData`: the data folder holds something that this server can't, or should not, run on
 * - `InitFailed`: a new database cluster could not be initialised
 * - `PortTaken`: something else listens on the port
 * - `StartFailed`: the server ended instead of becoming ready
 * - `StartTimeout`: the server was not ready in time
 *
 * @since 0.1.0
 * @category models
 */
export const Reason = Schema.Literal(
  "UnsupportedPlatform",
  "InvalidOptions",
  "DataDirNotWritable",
  "DataDirInUse",
  "IncompatibleData",
  "InitFailed",
  "PortTaken",
  "StartFailed",
  "StartTimeout"
)

/**
 * The type of {@link Reason}.
 *
 * @since 0.1.0
 * @category models
 */
export type Reason = typeof Reason.Type

/**
 * The embedded server could not be started.
 *
 * `log` holds the last lines that the server, or its initialisation, wrote; they are part of the message too.
 *
 * @since 0.1.0
 * @category errors
 */
export class EmbeddedPostgresError extends Schema.TaggedError<EmbeddedPostgresError>(
  "@checkpool/embedded/EmbeddedPostgresError"
)("EmbeddedPostgresError", {
  reason: Reason,
  message: Schema.String,
  log: Schema.Array(Schema.String),
  cause: Schema.optional(Schema.Defect)
}) {
  /** Composes the message: what happened, what the server said, what to try. */
  static of(options: {
    readonly reason: Reason
    readonly what: string
    readonly hint: string
    readonly log?: ReadonlyArray<string> | undefined
    readonly cause?: unknown
  }): EmbeddedPostgresError {
    const log = options.log ?? []
    const quoted = log.length === 0 ? "" : `\nThe last lines of its log:\n${log.map((line) => `  ${line}`).join("\n")}`
    return new EmbeddedPostgresError({
      reason: options.reason,
      message: `${options.what}${quoted}\n${options.hint}`,
      log,
      ...(options.cause === undefined ? {} : { cause: options.cause })
    })
  }
}
