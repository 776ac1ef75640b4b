/**
 * The metrics of a `PgPool`.
 *
 * @since 0.1.0
 */
import type { Observer } from "@checkpool/pool/Pool"
import * as Metric from "effect/Metric"
import * as MetricBoundaries from "effect/MetricBoundaries"

/**
 * How long each acquisition of a connection took, in seconds, whether it had to wait or not. Acquisitions that failed
 * are not in it. One time series a pool, told apart by the label `db.client.connection.pool.name`.
 *
 * @category metrics
 * @since 0.1.0
 */
export const acquisitionSeconds = Metric.histogram(
  "checkpoint_connection_acquisition_seconds",
  MetricBoundaries.fromIterable([0.001, 0.005, 0.01, 0.025, 0.05, 0.1]),
  "Time to acquire a connection from the pool, in seconds"
)

/**
 * The label that tells pools apart.
 *
 * @category metrics
 * @since 0.1.0
 */
export const poolNameLabel = "db.client.connection.pool.name"

/** An observer that keeps the metrics of the pool with this name, and asks another one as well. @internal */
export const observe = (poolName: string, also: Observer | undefined): Observer => {
  const acquisition = Metric.tagged(acquisitionSeconds, poolNameLabel, poolName)
  return {
    ...also,
    acquired: (waitMillis) => {
      acquisition.unsafeUpdate(waitMillis / 1000, [])
      also?.acquired?.(waitMillis)
    }
  }
}
