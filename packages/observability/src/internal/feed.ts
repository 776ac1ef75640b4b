/**
 * What the live page shows, as messages: the pools' numbers and what has happened since the message before.
 */
import * as PgPoolMetrics from "@checkpool/pg/PgPoolMetrics"
import type { PoolStats } from "@checkpool/pool/PoolStats"
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import * as MetricState from "effect/MetricState"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { AnyPool, Pools } from "../Pools.ts"
import type { Happening } from "./happening.ts"
import { describe } from "./happening.ts"
import { listen } from "./listen.ts"

/** @internal */
export interface Message {
  readonly now: number
  readonly pools: ReadonlyArray<PoolStats & Shown>
  readonly lanes: Lanes | null
  readonly happenings: ReadonlyArray<Entry>
}

interface Shown {
  readonly waits: Histogram | null
  /** Callers are turned away, or have been since the queue was empty last. */
  readonly saturated: boolean
}

/** Many of a kind that come together are one entry: `first` stays the same then, while `id` grows. */
interface Entry extends Happening {
  readonly first: number
  readonly id: number
  readonly at: number
  readonly times: number
}

interface Histogram {
  readonly count: number
  /** Bounds in seconds, with the number of observations up to each of them. */
  readonly buckets: ReadonlyArray<readonly [bound: number, count: number]>
}

interface Lanes {
  readonly queued: number
  readonly queuedBytes: number
  readonly oldest: number
  readonly inFlight: number
  /** Since the start: statements, the operations in them, and the bytes that were read and written. */
  readonly batches: number
  readonly batched: number
  readonly bytes: number
  /** Since the start: operations that succeeded, and the seconds that they took together. */
  readonly operations: number
  readonly seconds: number
  /** Operations that failed since the start, by kind of error. */
  readonly failed: Readonly<Record<string, number>>
}

/** @internal */
export interface Feed {
  /** Begins with the last events and goes on with what follows. */
  readonly messages: Stream.Stream<Message>
}

/** Events kept for those who come later. */
const kept = 100

/** Events of a kind within so many milliseconds of each other are told as one. */
const together = 2000

/** Collects what happens in the pools until the scope closes; messages come at this interval in milliseconds. @internal */
export const make = (pools: Pools, interval: number): Effect.Effect<Feed, never, Scope.Scope> =>
  Effect.gen(function* () {
    const happenings: Array<Entry> = []
    const saturated = new Set<AnyPool>()
    let id = 0
    yield* pools.each((pool) =>
      listen(pool, (event) =>
        Effect.map(now, (at) => {
          if (event._tag === "Saturated") saturated.add(pool)
          else if (event._tag === "Relieved") saturated.delete(pool)
          const happening = describe(event)
          const last = happenings.findIndex(
            ({ at: then, pool, what }) => pool === happening.pool && what === happening.what && at - then < together
          )
          const [before] = last < 0 ? [] : happenings.splice(last, 1)
          id++
          happenings.push({ ...happening, id, at, first: before?.first ?? id, times: (before?.times ?? 0) + 1 })
          if (happenings.length > kept) happenings.shift()
        })
      ).pipe(Effect.zipRight(Effect.addFinalizer(() => Effect.sync(() => saturated.delete(pool)))))
    )
    const messageAfter = (last: number) =>
      Effect.map(now, (now): readonly [Message, number] => [
        {
          now,
          pools: pools.current().map((pool) => ({ ...numbersOf(pool), saturated: saturated.has(pool) })),
          lanes: lanes(),
          happenings: happenings.filter(({ id }) => id > last)
        },
        id
      ])
    return {
      messages: Stream.unfoldEffect({ last: 0, pause: 0 }, ({ last, pause }) =>
        Effect.map(Effect.delay(messageAfter(last), pause), ([message, last]) =>
          Option.some([message, { last, pause: interval }] as const)
        )
      )
    }
  })

const now = Effect.clockWith((clock) => clock.currentTimeMillis)

const numbersOf = (pool: AnyPool): PoolStats & Pick<Shown, "waits"> => {
  const waits = Metric.tagged(PgPoolMetrics.waitTime, PgPoolMetrics.poolNameLabel, pool.name).unsafeValue([])
  return { ...pool.unsafeStats(), waits: { count: waits.count, buckets: [...waits.buckets] } }
}

const lanes = (): Lanes | null => {
  const series = Metric.unsafeSnapshot().filter(({ metricKey }) => metricKey.name.startsWith("checkpoint."))
  const sum = (name: string, of: (state: MetricState.MetricState.Untyped) => number) =>
    series.reduce((sum, { metricKey, metricState }) => (metricKey.name === name ? sum + of(metricState) : sum), 0)
  const gauge = (state: MetricState.MetricState.Untyped) => (MetricState.isGaugeState(state) ? Number(state.value) : 0)
  const counter = (state: MetricState.MetricState.Untyped) =>
    MetricState.isCounterState(state) ? Number(state.count) : 0
  if (!series.some(({ metricKey }) => metricKey.name === "checkpoint.queue.length")) return null
  const histogram = (of: "count" | "sum") => (state: MetricState.MetricState.Untyped) =>
    MetricState.isHistogramState(state) ? state[of] : 0
  const failed: Record<string, number> = {}
  for (const { metricKey, metricState } of series) {
    if (metricKey.name !== "checkpoint.operation.errors") continue
    const label = (name: string) => metricKey.tags.find(({ key }) => key === name)?.value
    const kind = label("checkpoint.error.kind") ?? label("error.type") ?? "other"
    failed[kind] = (failed[kind] ?? 0) + counter(metricState)
  }
  return {
    queued: sum("checkpoint.queue.length", gauge),
    queuedBytes: sum("checkpoint.queue.bytes", gauge),
    oldest: sum("checkpoint.queue.oldest", gauge),
    inFlight: sum("checkpoint.batch.in_flight", gauge),
    batches: sum("checkpoint.batch.size", histogram("count")),
    batched: sum("checkpoint.batch.size", histogram("sum")),
    bytes: sum("checkpoint.operation.bytes", counter),
    operations: sum("checkpoint.operation.duration", histogram("count")),
    seconds: sum("checkpoint.operation.duration", histogram("sum")),
    failed
  }
}
