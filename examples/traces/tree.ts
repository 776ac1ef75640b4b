/**
 * Spans, which are exported in the order of their ends, as the tree that they are.
 */
import type { ReadableSpan } from "@opentelemetry/sdk-trace-base"

export interface Branch {
  readonly name: string
  readonly attributes: ReadableSpan["attributes"]
  readonly events: ReadonlyArray<{
    readonly name: string
    readonly attributes?: ReadableSpan["attributes"] | undefined
  }>
  readonly children: ReadonlyArray<Branch>
}

export const treeOf = (spans: ReadonlyArray<ReadableSpan>): ReadonlyArray<Branch> => {
  const idOf = (span: ReadableSpan) => span.spanContext().spanId
  const began = ({ startTime: [seconds, nanos] }: ReadableSpan) => seconds * 1e9 + nanos
  const below = (parent: string | undefined): ReadonlyArray<Branch> =>
    spans
      .filter((span) => span.parentSpanContext?.spanId === parent)
      .toSorted((a, b) => began(a) - began(b))
      .map((span) => ({
        name: span.name,
        attributes: span.attributes,
        events: span.events,
        children: below(idOf(span))
      }))
  return below(undefined)
}

/** The tree as text, each span with what is most worth to know of it. */
export const draw = (branches: ReadonlyArray<Branch>, indent = ""): string =>
  branches
    .map(({ attributes, children, events, name }) => {
      const about = attributes["db.query.text"] ?? attributes["checkpoint.thread_id"] ?? attributes.question ?? ""
      const happened = events.map((event) => {
        const wait = event.attributes?.["db.client.connection.wait_time"]
        return `\n${indent}  · ${event.name}${typeof wait === "number" ? ` after ${(wait * 1000).toFixed(1)} ms` : ""}`
      })
      const line = `${indent}${name}  ${String(about).replace(/\s+/g, " ").slice(0, 60)}`.trimEnd()
      return line + happened.join("") + (children.length === 0 ? "" : `\n${draw(children, `${indent}  `)}`)
    })
    .join("\n")
