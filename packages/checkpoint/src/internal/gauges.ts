/**
 * Gauges that are read where they are kept, at the moment when the registry is asked for them.
 *
 * @internal
 */
import * as Effect from "effect/Effect"
import { globalValue } from "effect/GlobalValue"
import * as Metric from "effect/Metric"
import type * as MetricKey from "effect/MetricKey"
import * as MetricState from "effect/MetricState"
import type * as Scope from "effect/Scope"
import * as Keys from "./metricKeys.ts"

/** @internal */
export interface Reading {
  readonly queued: number
  readonly queuedBytes: number
  /** In milliseconds. */
  readonly oldest: number
  readonly inFlight: number
}

/** Counts in the gauges until the scope closes. @internal */
export const register = (read: () => Reading): Effect.Effect<void, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.sync(() => {
      // The registry never forgets a metric. So it has each once, over what there is at the time.
      gauge(Keys.queueLength, () => sum(({ queued }) => queued))
      gauge(Keys.queueBytes, () => sum(({ queuedBytes }) => queuedBytes))
      gauge(Keys.queueOldest, () => Math.max(0, ...Array.from(open, (read) => read().oldest)) / 1000)
      gauge(Keys.inFlight, () => sum(({ inFlight }) => inFlight))
      open.add(read)
    }),
    () => Effect.sync(() => open.delete(read))
  )

const open = globalValue("@checkpool/checkpoint/gauges", () => new Set<() => Reading>())

const sum = (of: (reading: Reading) => number): number =>
  Array.from(open, (read) => of(read())).reduce((a, b) => a + b, 0)

const gauge = (key: MetricKey.MetricKey.Gauge<number>, read: () => number): void => {
  Metric.globalMetricRegistry.getGauge(key).get = () => MetricState.gauge(read())
}
