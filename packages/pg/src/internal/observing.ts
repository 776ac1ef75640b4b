/**
 * Keeps a pool's metrics: durations as they come, events as they happen, and everything else by reading the pool's own
 * numbers when somebody reads the registry.
 */

import type { PoolEvent } from "@checkpool/pool/PoolEvent"
import type { Observer } from "@checkpool/pool/PoolOptions"
import type { PoolStats } from "@checkpool/pool/PoolStats"
import * as Effect from "effect/Effect"
import * as MetricKey from "effect/MetricKey"
import * as Predicate from "effect/Predicate"
import type * as Scope from "effect/Scope"
import {
  errorTypeLabel,
  outcomeLabel,
  poolNameLabel,
  reasonLabel,
  sqlStateClassLabel,
  stateLabel
} from "../PgPoolMetrics.ts"
import * as SqlState from "../SqlState.ts"
import * as Keys from "./metricKeys.ts"
import type { NumberKey } from "./registry.ts"
import * as Registry from "./registry.ts"

/** @internal */
export interface Observing {
  /** What the pool reports to. */
  readonly observer: Observer
  /** Reads the pool's numbers through this from now on. */
  readonly watch: (stats: () => PoolStats) => void
  /** A connection broke, and not because it was closed. */
  readonly broke: (cause: unknown) => void
  /** Begins to time a statement; call the result when it has ended. */
  readonly statement: () => (error?: unknown) => void
}

/** Observes the pool of this name, until the scope closes, and tells another observer as well. @internal */
export const make = (name: string, also: Observer | undefined): Effect.Effect<Observing, never, Scope.Scope> =>
  Effect.gen(function* () {
    const clock = yield* Effect.clock
    const readings = readingsOf(name)
    const source: Source = { stats: undefined }
    yield* Effect.acquireRelease(
      Effect.sync(() => readings.add(source)),
      () => Effect.sync(() => readings.end(source))
    )
    const count = byLabels(name)
    const acquisition = Registry.updater(named(Keys.acquisitionSeconds, name))
    const wait = Registry.updater(named(Keys.waitTime, name))
    const use = Registry.updater(named(Keys.useTime, name))
    const create = Registry.updater(named(Keys.createTime, name))
    const operation = operations(name)

    const event = (event: PoolEvent): void => {
      switch (event._tag) {
        case "Opened":
          create(event.took / 1000)
          count(Keys.connects, [outcomeLabel, "opened"])
          break
        case "ConnectFailed":
          count(Keys.connects, [outcomeLabel, "failed"], [errorTypeLabel, errorType(event.error)])
          break
        case "AtCapacity":
          count(Keys.connects, [outcomeLabel, "at_capacity"], [errorTypeLabel, errorType(event.error)])
          break
        case "Closed":
          count(Keys.closes, [reasonLabel, event.reason])
          break
        case "Saturated":
          count(Keys.saturations)
          break
      }
    }

    return {
      observer: {
        acquired: (waitMillis) => {
          acquisition(waitMillis / 1000)
          wait(waitMillis / 1000)
          also?.acquired?.(waitMillis)
        },
        released: (useMillis) => {
          use(useMillis / 1000)
          also?.released?.(useMillis)
        },
        event: (happened) => {
          event(happened)
          also?.event?.(happened)
        }
      },
      watch: (stats) => {
        source.stats = stats
      },
      broke: (cause) => count(Keys.evictions, [sqlStateClassLabel, SqlState.of(cause)?.slice(0, 2) ?? "none"]),
      statement: () => {
        const began = clock.unsafeCurrentTimeNanos()
        return (error) => operation(Number(clock.unsafeCurrentTimeNanos() - began) / 1e9, error)
      }
    }
  })

/** The SQLSTATE, else the system's code, else what OpenTelemetry says when there is none. */
const errorType = (error: unknown): string => SqlState.of(error) ?? systemCode(error) ?? "_OTHER"

const systemCode = (error: unknown): string | undefined => {
  if (Predicate.hasProperty(error, "code") && typeof error.code === "string") return error.code
  return Predicate.hasProperty(error, "cause") ? systemCode(error.cause) : undefined
}

const named = <K extends MetricKey.MetricKey.Untyped>(key: K, name: string): K => tagged(key, poolNameLabel, name)

const tagged = <K extends MetricKey.MetricKey.Untyped>(key: K, label: string, value: string): K =>
  MetricKey.tagged(key, label, value) as MetricKey.MetricKey.Untyped as K

/** Counts by labels whose values are known only when something happens. */
const byLabels = (name: string) => {
  const updaters = new Map<string, (value: number) => void>()
  return (key: MetricKey.MetricKey.Counter<number>, ...labels: ReadonlyArray<readonly [string, string]>): void => {
    const id = [key.name, ...labels.flat()].join("\n")
    let update = updaters.get(id)
    if (update === undefined) {
      update = Registry.updater(labels.reduce((key, [label, value]) => tagged(key, label, value), named(key, name)))
      updaters.set(id, update)
    }
    update(1)
  }
}

const operations = (name: string) => {
  const key = tagged(named(Keys.operationDuration, name), "db.system.name", "postgresql")
  const succeeded = Registry.updater(key)
  const failed = new Map<string, (value: number) => void>()
  const failedBy = (type: string) => {
    const update = failed.get(type) ?? Registry.updater(tagged(key, errorTypeLabel, type))
    failed.set(type, update)
    return update
  }
  return (seconds: number, error: unknown): void =>
    error === undefined ? succeeded(seconds) : failedBy(errorType(error))(seconds)
}

// ---------------------------------------------------------------------------------------------------------------
// Readings
// ---------------------------------------------------------------------------------------------------------------

interface Source {
  stats: (() => PoolStats) | undefined
}

type Read = (stats: PoolStats) => number

const totals: ReadonlyArray<readonly [NumberKey, Read]> = [
  [Keys.acquired, (stats) => stats.acquired],
  [Keys.reused, (stats) => stats.reused],
  [Keys.timeouts, (stats) => stats.timedOut],
  [Keys.rejected, (stats) => stats.rejected],
  [Keys.leaks, (stats) => stats.leaksSuspected]
]

const gauges: ReadonlyArray<readonly [NumberKey, Read, state?: string]> = [
  [Keys.count, (stats) => stats.idle, "idle"],
  [Keys.count, (stats) => stats.leased + stats.checking + stats.resetting, "used"],
  [Keys.connecting, (stats) => stats.connecting],
  [Keys.idleMax, (stats) => stats.max],
  [Keys.idleMin, (stats) => stats.min],
  [Keys.max, (stats) => stats.max],
  [Keys.pendingRequests, (stats) => stats.waiting],
  [Keys.unavailable, (stats) => Number(stats.unavailable)],
  [Keys.atCapacity, (stats) => Number(stats.atCapacity)]
]

/** What is read off all pools of one name, those that are gone included as far as totals go. */
class Readings {
  private readonly name: string
  private readonly sources = new Set<Source>()
  private readonly past = new Map<NumberKey, number>()

  constructor(name: string) {
    this.name = name
    for (const [key, read] of totals) Registry.readAs(named(key, name), () => this.total(key, read))
  }

  add(source: Source): void {
    this.sources.add(source)
    for (const [key, read] of this.gauges()) Registry.readAs(key, read)
  }

  end(source: Source): void {
    const { stats } = source
    this.sources.delete(source)
    if (stats !== undefined) {
      for (const [key, read] of totals) this.past.set(key, (this.past.get(key) ?? 0) + read(stats()))
    }
    if (this.sources.size === 0) for (const [key] of this.gauges()) Registry.forget(key)
  }

  private gauges(): ReadonlyArray<readonly [NumberKey, () => number]> {
    return [
      ...gauges.map(([key, read, state]) => {
        const labelled = named(key, this.name)
        const full = state === undefined ? labelled : tagged(labelled, stateLabel, state)
        return [full, () => this.sum(read)] as const
      }),
      [named(Keys.oldestWait, this.name), () => Math.max(0, ...this.read((stats) => stats.oldestWait / 1000))],
      [named(Keys.reuse, this.name), () => this.reuse()]
    ]
  }

  private read(read: Read): ReadonlyArray<number> {
    return [...this.sources].map(({ stats }) => (stats === undefined ? 0 : read(stats())))
  }

  private sum(read: Read): number {
    return this.read(read).reduce((sum, value) => sum + value, 0)
  }

  private total(key: NumberKey, read: Read): number {
    return (this.past.get(key) ?? 0) + this.sum(read)
  }

  private reuse(): number {
    const acquired = this.total(Keys.acquired, (stats) => stats.acquired)
    return acquired === 0 ? 0 : this.total(Keys.reused, (stats) => stats.reused) / acquired
  }
}

const byName = new Map<string, Readings>()

const readingsOf = (name: string): Readings => {
  const readings = byName.get(name) ?? new Readings(name)
  byName.set(name, readings)
  return readings
}
