/** It comes without types. */
declare module "parse-prometheus-text-format" {
  interface Metric {
    readonly value?: string
    readonly labels?: Record<string, string>
    readonly buckets?: Record<string, string>
    readonly count?: string
    readonly sum?: string
  }
  interface Family {
    readonly name: string
    readonly help: string
    readonly type: "COUNTER" | "GAUGE" | "HISTOGRAM" | "SUMMARY" | "UNTYPED"
    readonly metrics: ReadonlyArray<Metric>
  }
  export default function parse(text: string): ReadonlyArray<Family>
}
