/**
 * The metrics of all checkpointers of a process, in Effect's registry: from there any exporter takes them.
 *
 * Histograms and counters are written as things happen, which costs about a microsecond an operation. Gauges are
 * read when somebody asks for them, and cost nothing until then; they are sums (the oldest: the greatest) over all
 * checkpointers that are open. Each has its unit as the label `unit`, as `@effect/opentelemetry` expects it; labels set with
 * `Effect.tagMetrics` around an operation are on its metrics, too.
 *
 * @since 0.1.0
 */
import * as Metric from "effect/Metric"
import * as Keys from "./internal/metricKeys.ts"

/**
 * The label that tells operations apart: `put`, `putWrites`, `commit`, `get`, `list`, `deltaHistory`, `deleteThread`,
 * `copyThread`, `forkAt`, `deleteForRuns`, `threads`, `prune`, `prunePlan`, `setTtl`, `ttl`, `retain`.
 *
 * @since 0.1.0
 * @category labels
 */
export const operationLabel = "checkpoint.operation"

/**
 * The label of {@link errors} that names the error's type, or `defect`.
 *
 * @since 0.1.0
 * @category labels
 */
export const errorLabel = "error.type"

/**
 * Why a database did not do what it was asked, on {@link errors} of the type `CheckpointerError` and on {@link retries}:
 *
 * - `refused`: because of what was asked
 * - `conflict`: because of another transaction
 * - `saturated`: no connection was to be had
 * - `lost`: the connection was lost, so that nobody knows whether it was done
 * - `fatal`: and it won't do anything else either
 *
 * @since 0.1.0
 * @category labels
 */
export const kindLabel = "checkpoint.error.kind"

/**
 * How long each operation took, in seconds, from the call to the answer: encoding, waiting and retries included. Of a list
 * each page is one operation. Operations that failed are in {@link errors} and not in here.
 *
 * @since 0.1.0
 * @category metrics
 */
export const operationSeconds = Metric.fromMetricKey(Keys.operationDuration)

/**
 * Operations that failed. An interrupt is no failure.
 *
 * @since 0.1.0
 * @category metrics
 */
export const errors = Metric.fromMetricKey(Keys.operationErrors)

/**
 * The size of the values and pending writes that were read or sent, encoded. Metadata are not in it.
 *
 * @since 0.1.0
 * @category metrics
 */
export const bytes = Metric.fromMetricKey(Keys.operationBytes)

/**
 * How many operations went into each statement of group commit.
 *
 * @since 0.1.0
 * @category metrics
 */
export const batchSize = Metric.fromMetricKey(Keys.batchSize)

/**
 * Operations that group commit put back into its queue to try them again.
 *
 * @since 0.1.0
 * @category metrics
 */
export const retries = Metric.fromMetricKey(Keys.batchRetries)

/**
 * Writes that wait for their turn.
 *
 * @since 0.1.0
 * @category metrics
 */
export const queueLength: Metric.Metric.Gauge<number> = Metric.fromMetricKey(Keys.queueLength)

/**
 * Their size in bytes.
 *
 * @since 0.1.0
 * @category metrics
 */
export const queueBytes: Metric.Metric.Gauge<number> = Metric.fromMetricKey(Keys.queueBytes)

/**
 * How long the one that waits longest has been waiting, in seconds: the first sign that a database can't keep up.
 *
 * @since 0.1.0
 * @category metrics
 */
export const queueOldestSeconds: Metric.Metric.Gauge<number> = Metric.fromMetricKey(Keys.queueOldest)

/**
 * Statements of group commit that are on their way to the database.
 *
 * @since 0.1.0
 * @category metrics
 */
export const inFlight: Metric.Metric.Gauge<number> = Metric.fromMetricKey(Keys.inFlight)

/**
 * The label that tells how it went: of {@link retentionRuns} the report's `ended`, of {@link retentionThreads} `kept`, `pruned`,
 * `deleted` or `failed`.
 *
 * @since 0.1.0
 * @category labels
 */
export const outcomeLabel = "checkpoint.retention.outcome"

/**
 * Passes of retention that came to an end, by how. Dry runs are in none of its metrics; how long passes take is in
 * {@link operationSeconds}, as `retain`.
 *
 * @since 0.1.0
 * @category metrics
 */
export const retentionRuns = Metric.fromMetricKey(Keys.retentionRuns)

/**
 * Threads that retention has looked at, by what it did. Its failures are here.
 *
 * @since 0.1.0
 * @category metrics
 */
export const retentionThreads = Metric.fromMetricKey(Keys.retentionThreads)

/**
 * Checkpoints that retention has removed.
 *
 * @since 0.1.0
 * @category metrics
 */
export const retentionCheckpoints = Metric.fromMetricKey(Keys.retentionCheckpoints)

/**
 * The size of the values and pending writes that retention has removed.
 *
 * @since 0.1.0
 * @category metrics
 */
export const retentionBytes = Metric.fromMetricKey(Keys.retentionBytes)
