/**
 * The metrics of all checkpointers of a process, in Effect's registry: from there any exporter takes them.
 *
 * Histograms and counters are written as things happen, which costs about a microsecond an operation. Gauges are
 * read when somebody asks for them, and cost nothing until then; they are sums (the oldest: the greatest) over all
 * checkpointers that are open. Labels set with `Effect.tagMetrics` around an operation are on its metrics, too.
 *
 * @since 0.1.0
 */
import * as Metric from "effect/Metric"
import * as MetricBoundaries from "effect/MetricBoundaries"
import * as Gauges from "./internal/gauges.ts"

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
export const operationSeconds = Metric.histogram(
  "checkpoint.operation.duration",
  MetricBoundaries.fromIterable([0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10]),
  "Time of an operation of the checkpointer, in seconds"
)

/**
 * Operations that failed. An interrupt is no failure.
 *
 * @since 0.1.0
 * @category metrics
 */
export const errors = Metric.counter("checkpoint.operation.errors", {
  description: "Operations of the checkpointer that failed",
  incremental: true
})

/**
 * The size of the values and pending writes that were read or sent, encoded. Metadata are not in it.
 *
 * @since 0.1.0
 * @category metrics
 */
export const bytes = Metric.counter("checkpoint.operation.bytes", {
  description: "Bytes of values that were read or written",
  incremental: true
})

/**
 * How many operations went into each statement of group commit.
 *
 * @since 0.1.0
 * @category metrics
 */
export const batchSize = Metric.histogram(
  "checkpoint.batch.size",
  MetricBoundaries.fromIterable([1, 2, 4, 8, 16, 32, 64, 128]),
  "Operations that were sent in one statement"
)

/**
 * Operations that group commit put back into its queue to try them again.
 *
 * @since 0.1.0
 * @category metrics
 */
export const retries = Metric.counter("checkpoint.batch.retries", {
  description: "Operations that were queued again after a failure",
  incremental: true
})

/**
 * Writes that wait for their turn.
 *
 * @since 0.1.0
 * @category metrics
 */
export const queueLength: Metric.Metric.Gauge<number> = Metric.fromMetricKey(Gauges.queueLength)

/**
 * Their size in bytes.
 *
 * @since 0.1.0
 * @category metrics
 */
export const queueBytes: Metric.Metric.Gauge<number> = Metric.fromMetricKey(Gauges.queueBytes)

/**
 * How long the one that waits longest has been waiting, in seconds: the first sign that a database can't keep up.
 *
 * @since 0.1.0
 * @category metrics
 */
export const queueOldestSeconds: Metric.Metric.Gauge<number> = Metric.fromMetricKey(Gauges.queueOldest)

/**
 * Statements of group commit that are on their way to the database.
 *
 * @since 0.1.0
 * @category metrics
 */
export const inFlight: Metric.Metric.Gauge<number> = Metric.fromMetricKey(Gauges.inFlight)

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
export const retentionRuns = Metric.counter("checkpoint.retention.runs", {
  description: "Passes of retention",
  incremental: true
})

/**
 * Threads that retention has looked at, by what it did. Its failures are here.
 *
 * @since 0.1.0
 * @category metrics
 */
export const retentionThreads = Metric.counter("checkpoint.retention.threads", {
  description: "Threads that retention has looked at",
  incremental: true
})

/**
 * Checkpoints that retention has removed.
 *
 * @since 0.1.0
 * @category metrics
 */
export const retentionCheckpoints = Metric.counter("checkpoint.retention.checkpoints", {
  description: "Checkpoints that retention has removed",
  incremental: true
})

/**
 * The size of the values and pending writes that retention has removed.
 *
 * @since 0.1.0
 * @category metrics
 */
export const retentionBytes = Metric.counter("checkpoint.retention.bytes", {
  description: "Bytes of values and pending writes that retention has removed",
  incremental: true
})
