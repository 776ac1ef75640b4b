/**
 * What a run has found: this is what `--json` prints.
 */
import type { Summary } from "./measure.ts"
import type { ServerFacts, Statistics } from "./observer.ts"
import type { Settings } from "./settings.ts"
import type { Place } from "./target.ts"

/** How the connections of a phase are come by: opened for each write, or from the pool. */
export type Mode = "before" | "after"

export interface PhaseResult {
  readonly place: Place
  readonly mode: Mode
  readonly callers: number
  /** Whether writes that came together shared statements, and so connections. */
  readonly groupCommit: boolean
  /** The maximum of the pool. */
  readonly max: number
  readonly seconds: number
  readonly puts: number
  /** Writes that failed, by what they failed with. */
  readonly failed: Readonly<Record<string, number>>
  /** From asking for a connection to having one that is open, in milliseconds; each acquisition is a sample. */
  readonly acquisition: Summary
  /** Its percentiles from 0 to 100. */
  readonly acquisitionShape: ReadonlyArray<number>
  /** From calling `put` to its success, in milliseconds. */
  readonly put: Summary
  readonly putsPerSecond: number
  readonly acquired: number
  readonly reused: number
  readonly opened: number
  /** The most of our connections that the server counted at once. */
  readonly peak: number
  readonly left: Left
  readonly histogram: Histogram
}

/** What is still there after the end. */
export interface Left {
  /** Leases that were not given back, and callers that still wait, before the pool closed. */
  readonly leased: number
  readonly waiting: number
  /** Our connections, by the server's own count, after the pool closed. */
  readonly connections: number
}

/** `checkpoint_connection_acquisition_seconds` of a pool beside the raw samples; sums in seconds. */
export interface Histogram {
  readonly count: number
  readonly sum: number
  readonly samples: number
  readonly samplesSum: number
}

export interface Moment {
  /** Milliseconds since the first caller came. */
  readonly at: number
  readonly leased: number
  readonly idle: number
  readonly waiting: number
}

export interface SaturationResult {
  readonly callers: number
  /** They came evenly within this time. */
  readonly arrivalMillis: number
  readonly connections: number
  readonly maxWaiting: number
  readonly acquireTimeoutMillis: number
  readonly served: number
  /** Callers that were turned away, by the error that they got, and when they got it, in milliseconds. */
  readonly turnedAway: Readonly<Record<string, { readonly count: number; readonly after: Summary }>>
  /** Callers that had no answer when the phase was cut off. */
  readonly unanswered: number
  /** The longest that anybody waited for an answer, in milliseconds. */
  readonly slowestMillis: number
  /** Whether the next caller was served as if nothing had happened. */
  readonly servedAfterwards: boolean
  /** The pool from moment to moment. */
  readonly timeline: ReadonlyArray<Moment>
  readonly left: Left
  readonly histogram: Histogram
}

export interface InterruptionResult {
  readonly writers: number
  readonly puts: number
  readonly interrupted: number
  readonly failed: Readonly<Record<string, number>>
  /** Connections that the server ended on request. */
  readonly terminated: number
  readonly left: Left
  readonly histogram: Histogram
}

export interface IntegrityResult {
  readonly acked: number
  readonly doubtful: number
  /** Acknowledged, and not in the database. */
  readonly missing: number
  /** Doubtful, and in the database all the same: which is fine if they are whole. */
  readonly landed: number
  /** In the database, and never written by us. */
  readonly unknown: number
  /** Channels that a checkpoint names and that have no value. */
  readonly withoutBlob: number
  /** Values that no checkpoint names: the other half of a half-written put. */
  readonly withoutCheckpoint: number
  /** Checkpoints that were read back through the checkpointer, and how many differed from what was put. */
  readonly readBack: number
  readonly different: number
}

export interface Findings {
  readonly server: ServerFacts & { readonly embedded: boolean }
  readonly remarks: ReadonlyArray<string>
  readonly settings: Settings
  readonly pool: { readonly min: number; readonly max: number }
  readonly phases: ReadonlyArray<PhaseResult>
  readonly saturation: SaturationResult
  readonly interruption: InterruptionResult
  readonly integrity: IntegrityResult
  readonly statistics: { readonly before: Statistics; readonly after: Statistics }
  readonly seconds: number
}
