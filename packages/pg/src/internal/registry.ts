/**
 * The one place that reaches into Effect's metric registry: series that are read when somebody asks for them, instead of
 * being written on each change, and that end with what they describe.
 */
import * as Metric from "effect/Metric"
import type * as MetricKey from "effect/MetricKey"
import * as MetricKeyType from "effect/MetricKeyType"
import * as MetricState from "effect/MetricState"
import type * as MutableHashMap from "effect/MutableHashMap"
import { remove } from "effect/MutableHashMap"

/** @internal */
export type NumberKey = MetricKey.MetricKey.Counter<number> | MetricKey.MetricKey.Gauge<number>

/** Whoever reads this series gets what `read` gives then. @internal */
export const readAs = (key: NumberKey, read: () => number): void => {
  const get = MetricKeyType.isCounterKey(key.keyType)
    ? () => MetricState.counter(read())
    : () => MetricState.gauge(read())
  Object.assign(Metric.globalMetricRegistry.get(key as MetricKey.MetricKey.Untyped), { get })
}

/** Updates a series, without the steps of an effect. @internal */
export const updater = (key: MetricKey.MetricKey.Counter<number> | MetricKey.MetricKey.Histogram) => {
  const hook = Metric.globalMetricRegistry.get(key as MetricKey.MetricKey.Untyped)
  return (value: number): void => hook.update(value)
}

/** Ends a series. The registry itself has no way to. @internal */
export const forget = (key: NumberKey): void => {
  const { map } = Metric.globalMetricRegistry as unknown as {
    readonly map: MutableHashMap.MutableHashMap<NumberKey, unknown>
  }
  remove(map, key)
}
