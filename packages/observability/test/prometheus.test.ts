import { PrometheusMetrics } from "@checkpool/observability"
import { describe, expect, it } from "@effect/vitest"
import { FastCheck, Metric, MetricBoundaries, MetricKey, MetricLabel, MetricPair, MetricState } from "effect"
import parse from "parse-prometheus-text-format"

const labelled = (key: MetricKey.MetricKey.Untyped, labels: Record<string, string>) =>
  MetricKey.taggedWithLabels(
    key,
    Object.entries(labels).map(([label, value]) => MetricLabel.make(label, value))
  )

const counter = (name: string, labels: Record<string, string>, count: number, incremental = true) =>
  MetricPair.unsafeMake(labelled(MetricKey.counter(name, { incremental }), labels), MetricState.counter(count))

const gauge = (name: string, labels: Record<string, string>, value: number) =>
  MetricPair.unsafeMake(labelled(MetricKey.gauge(name), labels), MetricState.gauge(value))

describe("the text for Prometheus", () => {
  it.each([
    [counter("db.client.connection.timeouts", { unit: "{timeout}" }, 1), "db_client_connection_timeouts_total 1"],
    [counter("jobs_total", {}, 2), "jobs_total 2"],
    [counter("up.and-down", { unit: "{thing}" }, 3, false), "up_and_down 3"],
    [counter("moved", { unit: "By" }, 4), "moved_bytes_total 4"],
    [gauge("pool.reuse", { unit: "1" }, 0.5), "pool_reuse_ratio 0.5"],
    [gauge("oldest_wait_seconds", { unit: "s" }, 1.5), "oldest_wait_seconds 1.5"],
    [gauge("2xx", { time_unit: "ms" }, 1), "_2xx_milliseconds 1"],
    [gauge("heat", { unit: "Cel" }, Number.NEGATIVE_INFINITY), "heat_Cel -Inf"]
  ])("translates names as OpenTelemetry says: %#", (pair, line) => {
    expect(PrometheusMetrics.format([pair]).split("\n")).toContain(line)
  })

  it("shows a histogram by its cumulative buckets", () => {
    const waits = Metric.histogram("test.waits", MetricBoundaries.fromIterable([0.1, 1]), "How long\nit took").pipe(
      Metric.tagged("unit", "s"),
      Metric.tagged("pool.name", "a")
    )
    for (const seconds of [0.05, 0.1, 0.5, 7]) waits.unsafeUpdate(seconds, [])
    const snapshot = Metric.unsafeSnapshot().filter(({ metricKey }) => metricKey.name === "test.waits")
    expect(PrometheusMetrics.format(snapshot)).toBe(
      [
        "# HELP test_waits_seconds How long\\nit took",
        "# TYPE test_waits_seconds histogram",
        'test_waits_seconds_bucket{pool_name="a",le="0.1"} 2',
        'test_waits_seconds_bucket{pool_name="a",le="1"} 3',
        'test_waits_seconds_bucket{pool_name="a",le="+Inf"} 4',
        'test_waits_seconds_sum{pool_name="a"} 7.65',
        'test_waits_seconds_count{pool_name="a"} 4',
        ""
      ].join("\n")
    )
  })

  it("leaves out what would make it invalid: another type under the same name, the same series twice", () => {
    const text = PrometheusMetrics.format([gauge("a.b", {}, 1), counter("a_b", {}, 2, false), counter("a.b", {}, 3)])
    expect(text).toBe("# TYPE a_b gauge\na_b 1\n# TYPE a_b_total counter\na_b_total 3\n")
    const clash = PrometheusMetrics.format([gauge("x_total", {}, 1), counter("x", {}, 2)])
    expect(clash).toBe(
      "# TYPE x_total gauge\nx_total 1\n# x_total is a gauge: another metric of that name, a counter, is left out\n"
    )
  })

  it("is read back by a parser of Prometheus's, whatever names and labels say", () => {
    const word = FastCheck.oneof(
      FastCheck.string({ unit: "grapheme", minLength: 1, maxLength: 12 }),
      FastCheck.constantFrom('"', "\\", "\n", "\\n", "{}", "a,b", "le", "#", " ", "é")
    )
    FastCheck.assert(
      FastCheck.property(
        FastCheck.stringMatching(/^[a-z]\w*$/),
        word,
        word,
        FastCheck.nat(),
        (name, label, value, n) => {
          const families = parse(PrometheusMetrics.format([counter(name, { [`l${label}`]: value }, n)]))
          expect(families.length).toBe(1)
          const [sample] = families[0]!.metrics
          expect(Object.values(sample!.labels ?? {})).toEqual([value])
          expect(Number(sample!.value)).toBe(n)
        }
      ),
      { numRuns: 300 }
    )
  })
})
