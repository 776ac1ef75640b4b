/**
 * The metrics of a `PgPool`, in Effect's metric registry: by the names, kinds and units of OpenTelemetry's conventions
 * for database clients as far as they go, and by names of our own beyond.
 *
 * Each has the label `db.client.connection.pool.name` and, as `@effect/opentelemetry` expects it, its unit as the label
 * `unit`. What can be read off the pool is read when the registry is, and costs nothing in between. Gauges end with their
 * pool; counters and histograms stay, so that the last scrape misses nothing. Pools of the same name are added up.
 *
 * @since 0.1.0
 */
import * as Metric from "effect/Metric"
import * as Keys from "./internal/metricKeys.ts"

/**
 * The label that tells pools apart.
 *
 * @category labels
 * @since 0.1.0
 */
export const poolNameLabel = "db.client.connection.pool.name"

/**
 * The label of `connectionCount`: `idle` or `used`.
 *
 * @category labels
 * @since 0.1.0
 */
export const stateLabel = "db.client.connection.state"

/**
 * The label of `connects`: `opened`, `failed`, or `at_capacity` when the server had no more to give. Attempts that did
 * not succeed have `error.type` too.
 *
 * @category labels
 * @since 0.1.0
 */
export const outcomeLabel = "outcome"

/**
 * The label of `closes`: a `CloseReason` of `@checkpool/pool`.
 *
 * @category labels
 * @since 0.1.0
 */
export const reasonLabel = "reason"

/**
 * The label of `evictions`: the first two characters of the SQLSTATE, or `none` when the network said so.
 *
 * @category labels
 * @since 0.1.0
 */
export const sqlStateClassLabel = "sqlstate.class"

/**
 * The label of what failed: the SQLSTATE, else the system's code (`ECONNREFUSED`), else `_OTHER`.
 *
 * @category labels
 * @since 0.1.0
 */
export const errorTypeLabel = "error.type"

/**
 * How long each acquisition of a connection took, in seconds, whether it had to wait or not. Acquisitions that failed
 * are not in it.
 *
 * @category metrics
 * @since 0.1.0
 */
export const acquisitionSeconds = Metric.fromMetricKey(Keys.acquisitionSeconds)

/**
 * The same as `acquisitionSeconds` under OpenTelemetry's name, with bounds from 10 µs to 10 s.
 *
 * @category metrics
 * @since 0.1.0
 */
export const waitTime = Metric.fromMetricKey(Keys.waitTime)

/**
 * How long each connection was held, in seconds.
 *
 * @category metrics
 * @since 0.1.0
 */
export const useTime = Metric.fromMetricKey(Keys.useTime)

/**
 * How long each connection took to open, in seconds.
 *
 * @category metrics
 * @since 0.1.0
 */
export const createTime = Metric.fromMetricKey(Keys.createTime)

/**
 * How long each statement took on its connection, in seconds, with `db.system.name`, and `error.type` if it failed. Reads
 * of streams are not in it: their time is their reader's.
 *
 * @category metrics
 * @since 0.1.0
 */
export const operationDuration = Metric.fromMetricKey(Keys.operationDuration)

/**
 * Connections by state. One that is being checked or reset counts as used.
 *
 * @category metrics
 * @since 0.1.0
 */
export const connectionCount = Metric.fromMetricKey(Keys.count)

/**
 * @category metrics
 * @since 0.1.0
 */
export const connecting = Metric.fromMetricKey(Keys.connecting)

/**
 * Idle connections allowed at most: as many as may be open, until they have been idle for too long.
 *
 * @category metrics
 * @since 0.1.0
 */
export const idleMax = Metric.fromMetricKey(Keys.idleMax)

/**
 * @category metrics
 * @since 0.1.0
 */
export const idleMin = Metric.fromMetricKey(Keys.idleMin)

/**
 * @category metrics
 * @since 0.1.0
 */
export const max = Metric.fromMetricKey(Keys.max)

/**
 * Callers that wait for a connection.
 *
 * @category metrics
 * @since 0.1.0
 */
export const pendingRequests = Metric.fromMetricKey(Keys.pendingRequests)

/**
 * How long the oldest waiter has been waiting, in seconds; 0 when nobody waits. The best single sign of saturation.
 *
 * @category metrics
 * @since 0.1.0
 */
export const oldestWait = Metric.fromMetricKey(Keys.oldestWait)

/**
 * Callers that gave up at their deadline.
 *
 * @category metrics
 * @since 0.1.0
 */
export const timeouts = Metric.fromMetricKey(Keys.timeouts)

/**
 * Callers turned away at once: saturated, unavailable, nested or closed.
 *
 * @category metrics
 * @since 0.1.0
 */
export const rejected = Metric.fromMetricKey(Keys.rejected)

/**
 * Times that the queue of waiters became full.
 *
 * @category metrics
 * @since 0.1.0
 */
export const saturations = Metric.fromMetricKey(Keys.saturations)

/**
 * @category metrics
 * @since 0.1.0
 */
export const acquired = Metric.fromMetricKey(Keys.acquired)

/**
 * @category metrics
 * @since 0.1.0
 */
export const reused = Metric.fromMetricKey(Keys.reused)

/**
 * `reused / acquired` since the pool was made, between 0 and 1.
 *
 * @category metrics
 * @since 0.1.0
 */
export const reuse = Metric.fromMetricKey(Keys.reuse)

/**
 * Attempts to open a connection, by `outcome`.
 *
 * @category metrics
 * @since 0.1.0
 */
export const connects = Metric.fromMetricKey(Keys.connects)

/**
 * Connections closed, by `reason`.
 *
 * @category metrics
 * @since 0.1.0
 */
export const closes = Metric.fromMetricKey(Keys.closes)

/**
 * Connections that broke, by `sqlstate.class`.
 *
 * @category metrics
 * @since 0.1.0
 */
export const evictions = Metric.fromMetricKey(Keys.evictions)

/**
 * Leases that were held for longer than `leakAfter`.
 *
 * @category metrics
 * @since 0.1.0
 */
export const leaks = Metric.fromMetricKey(Keys.leaks)

/**
 * 1 while nothing is open nor can be opened, else 0.
 *
 * @category metrics
 * @since 0.1.0
 */
export const unavailable = Metric.fromMetricKey(Keys.unavailable)

/**
 * 1 while the server gives no more connections, else 0.
 *
 * @category metrics
 * @since 0.1.0
 */
export const atCapacity = Metric.fromMetricKey(Keys.atCapacity)
