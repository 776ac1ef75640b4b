/**
 * Effect's metric registry in the text format that Prometheus scrapes. It covers all metrics of the process, a pool's as
 * well as those of your own.
 *
 * Names are translated as OpenTelemetry says: what is neither letter nor digit becomes `_`; the unit, which is the label
 * `unit` (or `time_unit`) in Effect, becomes a suffix (`s` to `_seconds`, `By` to `_bytes`, `1` of a gauge to `_ratio`);
 * counters end in `_total`; a counter that is not `incremental` may go down, and so is a gauge here. So
 * `db.client.connection.wait_time` is `db_client_connection_wait_time_seconds`.
 *
 * It pushes nothing and keeps nothing: a scrape is one reading of the registry.
 *
 * @since 0.1.0
 */
import * as HttpLayerRouter from "@effect/platform/HttpLayerRouter"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import * as MetricKeyType from "effect/MetricKeyType"
import type * as MetricPair from "effect/MetricPair"
import * as MetricState from "effect/MetricState"
import * as Option from "effect/Option"

/**
 * The content type of the text.
 *
 * @category constants
 * @since 0.1.0
 */
export const contentType = "text/plain; version=0.0.4; charset=utf-8"

/**
 * A snapshot of the registry as text.
 *
 * Two metrics may end up under one name. If their types differ, the one that is met later is left out, and a comment says
 * so; of two series with the same labels the first stays: anything else would make Prometheus refuse the whole.
 *
 * @category conversions
 * @since 0.1.0
 */
export const format = (snapshot: ReadonlyArray<MetricPair.MetricPair.Untyped>): string => {
  const families = new Map<string, Family>()
  const leftOut = new Set<string>()
  for (const { metricKey, metricState } of snapshot) {
    const type = typeOf(metricKey.keyType, metricState)
    const name = nameOf(metricKey.name, unitOf(metricKey.tags), type)
    const family = families.get(name) ?? {
      type,
      help: Option.getOrElse(metricKey.description, () => ""),
      series: new Map()
    }
    families.set(name, family)
    if (family.type !== type) {
      leftOut.add(`# ${name} is a ${family.type}: another metric of that name, a ${type}, is left out`)
      continue
    }
    const labels = labelsOf(metricKey.tags)
    for (const [suffix, extra, value] of samplesOf(metricState)) {
      const id = `${name}${suffix}${render([...labels, ...extra])}`
      if (!family.series.has(id)) family.series.set(id, value)
    }
  }
  const lines = [...families].flatMap(([name, { help, series, type }]) => [
    ...(help === "" ? [] : [`# HELP ${name} ${help.replaceAll("\\", "\\\\").replaceAll("\n", "\\n")}`]),
    `# TYPE ${name} ${type}`,
    ...Array.from(series, ([id, value]) => `${id} ${value}`)
  ])
  return [...lines, ...leftOut, ""].join("\n")
}

/**
 * The registry as text, now.
 *
 * @category constructors
 * @since 0.1.0
 */
export const text: Effect.Effect<string> = Effect.map(Metric.snapshot, format)

/**
 * A route that answers scrapes, for a server of yours.
 *
 * @category layers
 * @since 0.1.0
 */
export const route = (path: `/${string}` = "/metrics"): Layer.Layer<never, never, HttpLayerRouter.HttpRouter> =>
  HttpLayerRouter.add(
    "GET",
    path,
    Effect.map(text, (text) => HttpServerResponse.text(text, { contentType }))
  )

type Type = "counter" | "gauge" | "histogram" | "summary"

type Label = readonly [string, string]

type Tags = ReadonlyArray<{ readonly key: string; readonly value: string }>

interface Family {
  readonly type: Type
  readonly help: string
  /** By name and labels, as they are printed. */
  readonly series: Map<string, string>
}

const typeOf = (keyType: unknown, state: MetricState.MetricState.Untyped): Type =>
  MetricState.isHistogramState(state)
    ? "histogram"
    : MetricState.isSummaryState(state)
      ? "summary"
      : MetricState.isFrequencyState(state) || (MetricKeyType.isCounterKey(keyType) && keyType.incremental)
        ? "counter"
        : "gauge"

const samplesOf = (
  state: MetricState.MetricState.Untyped
): ReadonlyArray<readonly [suffix: string, labels: ReadonlyArray<Label>, value: string]> => {
  if (MetricState.isHistogramState(state)) {
    const finite = [...state.buckets].filter(([bound]) => bound !== Number.POSITIVE_INFINITY)
    return [
      ...finite.map(([bound, count]) => ["_bucket", [["le", number(bound)]], number(count)] as const),
      ["_bucket", [["le", "+Inf"]], number(state.count)],
      ["_sum", [], number(state.sum)],
      ["_count", [], number(state.count)]
    ]
  }
  if (MetricState.isSummaryState(state)) {
    return [
      ...state.quantiles.map(
        ([quantile, value]) =>
          ["", [["quantile", number(quantile)]], number(Option.getOrElse(value, () => Number.NaN))] as const
      ),
      ["_sum", [], number(state.sum)],
      ["_count", [], number(state.count)]
    ]
  }
  if (MetricState.isFrequencyState(state)) {
    return Array.from(state.occurrences, ([word, count]) => ["", [["key", word]], number(count)] as const)
  }
  if (MetricState.isCounterState(state)) return [["", [], number(state.count)]]
  return MetricState.isGaugeState(state) ? [["", [], number(state.value)]] : []
}

const number = (value: number | bigint): string =>
  value === Number.POSITIVE_INFINITY ? "+Inf" : value === Number.NEGATIVE_INFINITY ? "-Inf" : String(value)

const units: Record<string, string> = {
  d: "days",
  h: "hours",
  min: "minutes",
  s: "seconds",
  ms: "milliseconds",
  us: "microseconds",
  ns: "nanoseconds",
  By: "bytes",
  KiBy: "kibibytes",
  MiBy: "mebibytes",
  "%": "percent"
}

const isUnit = (key: string): boolean => key === "unit" || key === "time_unit"

const unitOf = (tags: Tags): string | undefined => tags.find(({ key }) => isUnit(key))?.value

const nameOf = (metric: string, unit: string | undefined, type: Type): string => {
  const base = clean(metric).replace(/^(?=\d)/, "_")
  // What stands in braces is a remark and no unit.
  const suffix =
    unit === undefined || unit.startsWith("{") ? "" : unit === "1" ? ratio(type) : (units[unit] ?? clean(unit))
  const withUnit = suffix === "" || base.endsWith(`_${suffix}`) ? base : `${base}_${suffix}`
  return type !== "counter" || withUnit.endsWith("_total") ? withUnit : `${withUnit}_total`
}

const ratio = (type: Type): string => (type === "gauge" ? "ratio" : "")

const clean = (name: string): string => name.replace(/[^a-zA-Z0-9_:]+/g, "_").replace(/_{2,}/g, "_")

/** Labels that end up under one name are joined. */
const labelsOf = (tags: Tags): ReadonlyArray<Label> => {
  const labels = new Map<string, string>()
  for (const { key, value } of tags) {
    if (isUnit(key)) continue
    const name = clean(key)
      .replaceAll(":", "_")
      .replace(/^(?=\d)/, "_")
    const other = labels.get(name)
    labels.set(name, other === undefined ? value : `${other};${value}`)
  }
  return [...labels].sort(([a], [b]) => (a < b ? -1 : 1))
}

const render = (labels: ReadonlyArray<Label>): string =>
  labels.length === 0 ? "" : `{${labels.map(([name, value]) => `${name}="${escape(value)}"`).join(",")}}`

const escape = (value: string): string => value.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n")
