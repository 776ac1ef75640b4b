/**
 * @since 0.1.0
 */
export * as PgConnection from "./PgConnection.ts"
export * as PgError from "./PgError.ts"
export * as PgNotification from "./PgNotification.ts"
export * as PgPool from "./PgPool.ts"
export * as PgPoolConfig from "./PgPoolConfig.ts"
export * as PgPoolMetrics from "./PgPoolMetrics.ts"
export * as SqlState from "./SqlState.ts"
