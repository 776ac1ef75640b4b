/**
 * @since 0.1.0
 */
export * as EmbeddedPostgres from "./EmbeddedPostgres.ts"

/**
 * @since 0.1.0
 */
export * as EmbeddedPostgresError from "./EmbeddedPostgresError.ts"

/**
 * @since 0.1.0
 */
export * as TcpRelay from "./TcpRelay.ts"
