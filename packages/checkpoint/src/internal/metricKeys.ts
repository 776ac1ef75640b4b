/**
 * Names and units of the metrics. The unit is a label, as `@effect/opentelemetry` expects it.
 *
 * @internal
 */
import * as MetricBoundaries from "effect/MetricBoundaries"
import * as MetricKey from "effect/MetricKey"

const unit = (unit: string) => MetricKey.tagged("unit", unit)

const counter = (name: string, of: string, description: string) =>
  MetricKey.counter(name, { description, incremental: true }).pipe(unit(of)) as MetricKey.MetricKey.Counter<number>

const gauge = (name: string, of: string, description: string) =>
  MetricKey.gauge(name, { description }).pipe(unit(of)) as MetricKey.MetricKey.Gauge<number>

const histogram = (name: string, of: string, bounds: ReadonlyArray<number>, description: string) =>
  MetricKey.histogram(name, MetricBoundaries.fromIterable(bounds), description).pipe(
    unit(of)
  ) as MetricKey.MetricKey.Histogram

/** @internal */
export const operationDuration = histogram(
  "checkpoint.operation.duration",
  "s",
  // What OpenTelemetry advises for the duration of operations.
  [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10],
  "Time of an operation of the checkpointer, in seconds"
)
/** @internal */
export const operationErrors = counter(
  "checkpoint.operation.errors",
  "{operation}",
  "Operations of the checkpointer that failed"
)
/** @internal */
export const operationBytes = counter("checkpoint.operation.bytes", "By", "Bytes of values that were read or written")
/** @internal */
export const batchSize = histogram(
  "checkpoint.batch.size",
  "{operation}",
  [1, 2, 4, 8, 16, 32, 64, 128],
  "Operations that were sent in one statement"
)
/** @internal */
export const batchRetries = counter(
  "checkpoint.batch.retries",
  "{operation}",
  "Operations that were queued again after a failure"
)
/** @internal */
export const queueLength = gauge("checkpoint.queue.length", "{operation}", "Writes that wait")
/** @internal */
export const queueBytes = gauge("checkpoint.queue.bytes", "By", "Bytes of the writes that wait")
/** @internal */
export const queueOldest = gauge("checkpoint.queue.oldest", "s", "Seconds that the oldest write has been waiting")
/** @internal */
export const inFlight = gauge("checkpoint.batch.in_flight", "{statement}", "Statements of group commit on their way")
/** @internal */
export const retentionRuns = counter("checkpoint.retention.runs", "{run}", "Passes of retention")
/** @internal */
export const retentionThreads = counter(
  "checkpoint.retention.threads",
  "{thread}",
  "Threads that retention has looked at"
)
/** @internal */
export const retentionCheckpoints = counter(
  "checkpoint.retention.checkpoints",
  "{checkpoint}",
  "Checkpoints that retention has removed"
)
/** @internal */
export const retentionBytes = counter(
  "checkpoint.retention.bytes",
  "By",
  "Bytes of values and pending writes that retention has removed"
)
