/**
 * Names, units and kinds of a pool's metrics. The unit is a label, as `@effect/opentelemetry` expects it; what goes up and
 * down and can be summed over pools is a counter that is not monotonic, which OpenTelemetry calls an UpDownCounter.
 */
import * as MetricBoundaries from "effect/MetricBoundaries"
import * as MetricKey from "effect/MetricKey"

const unit = (unit: string) => MetricKey.tagged("unit", unit)

const upDown = (name: string, of: string, description: string) =>
  MetricKey.counter(name, { description }).pipe(unit(of)) as MetricKey.MetricKey.Counter<number>

const counter = (name: string, of: string, description: string) =>
  MetricKey.counter(name, { description, incremental: true }).pipe(unit(of)) as MetricKey.MetricKey.Counter<number>

const gauge = (name: string, of: string, description: string) =>
  MetricKey.gauge(name, { description }).pipe(unit(of)) as MetricKey.MetricKey.Gauge<number>

const seconds = (name: string, bounds: ReadonlyArray<number>, description: string) =>
  MetricKey.histogram(name, MetricBoundaries.fromIterable(bounds), description).pipe(
    unit("s")
  ) as MetricKey.MetricKey.Histogram

/** What OpenTelemetry advises for the duration of operations. */
const operationBounds = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10]

/** An idle connection is there within microseconds: the advised bounds would say nothing of it. */
const waitBounds = [0.00001, 0.0001, ...operationBounds]

/** @internal */
export const count = upDown(
  "db.client.connection.count",
  "{connection}",
  "Connections in the state that the attribute tells"
)
/** @internal */
export const idleMax = upDown("db.client.connection.idle.max", "{connection}", "Idle connections allowed at most")
/** @internal */
export const idleMin = upDown("db.client.connection.idle.min", "{connection}", "Connections kept open when idle")
/** @internal */
export const max = upDown("db.client.connection.max", "{connection}", "Open connections allowed at most")
/** @internal */
export const pendingRequests = upDown(
  "db.client.connection.pending_requests",
  "{request}",
  "Callers that wait for a connection"
)
/** @internal */
export const timeouts = counter("db.client.connection.timeouts", "{timeout}", "Callers that gave up at their deadline")
/** @internal */
export const createTime = seconds(
  "db.client.connection.create_time",
  operationBounds,
  "Time to open a connection, start-up included"
)
/** @internal */
export const waitTime = seconds("db.client.connection.wait_time", waitBounds, "Time to obtain an open connection")
/** @internal */
export const useTime = seconds(
  "db.client.connection.use_time",
  operationBounds,
  "Time between borrowing a connection and giving it back"
)
/** @internal */
export const operationDuration = seconds(
  "db.client.operation.duration",
  operationBounds,
  "Duration of a statement, without the wait for a connection"
)
/** @internal */
export const acquisitionSeconds = seconds(
  "checkpoint_connection_acquisition_seconds",
  [0.001, 0.005, 0.01, 0.025, 0.05, 0.1],
  "Time to acquire a connection from the pool, in seconds"
)
/** @internal */
export const acquired = counter("checkpool.pool.acquired", "{acquisition}", "Connections lent")
/** @internal */
export const reused = counter("checkpool.pool.reused", "{acquisition}", "Connections lent that had been lent before")
/** @internal */
export const reuse = gauge("checkpool.pool.reuse", "1", "Share of the connections lent that had been lent before")
/** @internal */
export const oldestWait = gauge("checkpool.pool.oldest_wait", "s", "How long the oldest waiter has been waiting")
/** @internal */
export const connecting = upDown("checkpool.pool.connecting", "{connection}", "Connections that are being opened")
/** @internal */
export const saturations = counter("checkpool.pool.saturations", "{saturation}", "Times that the queue became full")
/** @internal */
export const rejected = counter("checkpool.pool.rejected", "{request}", "Callers turned away at once")
/** @internal */
export const leaks = counter("checkpool.pool.leaks", "{lease}", "Leases held for longer than `leakAfter`")
/** @internal */
export const unavailable = upDown("checkpool.pool.unavailable", "{pool}", "1 while nothing is open nor can be opened")
/** @internal */
export const atCapacity = upDown("checkpool.pool.at_capacity", "{pool}", "1 while the server gives no more connections")
/** @internal */
export const connects = counter("checkpool.pool.connects", "{connection}", "Attempts to open a connection, by outcome")
/** @internal */
export const closes = counter("checkpool.pool.closes", "{connection}", "Connections closed, by reason")
/** @internal */
export const evictions = counter(
  "checkpool.pool.evictions",
  "{connection}",
  "Connections that broke, by the class of the SQLSTATE that said so"
)
