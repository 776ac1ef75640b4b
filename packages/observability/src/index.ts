/**
 * @since 0.1.0
 */
export * as Dashboard from "./Dashboard.ts"
export * as HealthCheck from "./HealthCheck.ts"
export * as ObservabilityServer from "./ObservabilityServer.ts"
export * as Pools from "./Pools.ts"
export * as PrometheusMetrics from "./PrometheusMetrics.ts"
