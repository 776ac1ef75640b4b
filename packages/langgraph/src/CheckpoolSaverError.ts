/**
 * What is wrong with a call rather than with the database. All other rejections of the saver are the errors of
 * `@checkpool/checkpoint/CheckpointError`.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"

/**
 * The configuration does not say which thread or checkpoint is meant.
 *
 * @since 0.1.0
 * @category errors
 */
export class MissingIdentifier extends Schema.TaggedError<MissingIdentifier>(
  "@checkpool/langgraph/CheckpoolSaverError/MissingIdentifier"
)("MissingIdentifier", {
  operation: Schema.Literal("put", "putWrites"),
  /** The key that is missing in `config.configurable`. */
  field: Schema.Literal("thread_id", "checkpoint_id")
}) {
  override get message(): string {
    const hint =
      this.field === "thread_id"
        ? 'Say which conversation a run belongs to: graph.invoke(input, { configurable: { thread_id: "…" } })'
        : "Writes belong to a checkpoint: pass the configuration that put or getTuple gave"
    return `CheckpoolSaver.${this.operation} needs config.configurable.${this.field}. ${hint}`
  }
}

/**
 * The saver has ended.
 *
 * @since 0.1.0
 * @category errors
 */
export class SaverEnded extends Schema.TaggedError<SaverEnded>("@checkpool/langgraph/CheckpoolSaverError/SaverEnded")(
  "SaverEnded",
  {}
) {
  override get message(): string {
    return "This CheckpoolSaver has ended: end() was called, or the scope that it was made in was closed. Make a new one"
  }
}
