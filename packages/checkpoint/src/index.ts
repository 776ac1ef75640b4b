/**
 * @since 0.1.0
 */
export * as Checkpoint from "./Checkpoint.ts"
/**
 * @since 0.1.0
 */
export * as CheckpointError from "./CheckpointError.ts"
/**
 * @since 0.1.0
 */
export * as Checkpointer from "./Checkpointer.ts"
/**
 * @since 0.1.0
 */
export * as CheckpointMetrics from "./CheckpointMetrics.ts"

/**
 * @since 0.1.0
 */
export * as Codec from "./Codec.ts"

/**
 * @since 0.1.0
 */
export * as Retention from "./Retention.ts"

/**
 * @since 0.1.0
 */
export * as SqlCheckpointer from "./SqlCheckpointer.ts"

/**
 * @since 0.1.0
 */
export * as Thread from "./Thread.ts"

/**
 * @since 0.1.0
 */
export * as ThreadLife from "./ThreadLife.ts"

/**
 * @since 0.1.0
 */
export * as ThreadLock from "./ThreadLock.ts"
