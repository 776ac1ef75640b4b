/**
 * @since 0.1.0
 */
export * as Pool from "./Pool.ts"
export * as PoolError from "./PoolError.ts"
export * as PoolEvent from "./PoolEvent.ts"
export * as PoolOptions from "./PoolOptions.ts"
export * as PoolStats from "./PoolStats.ts"
export * as Recycler from "./Recycler.ts"
