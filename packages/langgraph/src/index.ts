/**
 * @since 0.1.0
 */
export { CheckpoolSaver, type ConnectionOptions, type Options, type PruneOptions, Saver } from "./CheckpoolSaver.ts"

/**
 * @since 0.1.0
 */
export * as CheckpoolSaverError from "./CheckpoolSaverError.ts"

/**
 * @since 0.1.0
 */
export * as LangGraphCodec from "./LangGraphCodec.ts"
