/**
 * How large a run is, and the mission's settings of the pool.
 */
import type { PgPoolConfig } from "@checkpool/pg"
import { Duration } from "effect"

export interface Settings {
  /** Conversations at the same time in the first two phases of each place: no more than connections. */
  readonly threads: number
  /** Conversations at the same time in the third, as a multiple of the connections. */
  readonly crowd: number
  /** Turns of a conversation, one checkpoint each. */
  readonly steps: number
  /** How long a phase lasts; longer, up to four times, until it has made `leastPuts`. */
  readonly seconds: number
  readonly leastPuts: number
  /** Checkpoints that are read back value by value, of all that were made; the others are compared in SQL. */
  readonly readBack: number
  readonly roundTripMillis: number
}

export const defaults: Settings = {
  threads: 10,
  crowd: 4,
  steps: 24,
  seconds: 2.5,
  leastPuts: 2000,
  readBack: 1000,
  roundTripMillis: 10
}

/** For a first look, and for tests: the same phases, as short as their figures still mean something. */
export const quick: Settings = { ...defaults, seconds: 0.4, leastPuts: 800, readBack: 200 }

/** The settings that the mission asks for. They are the defaults of `PgPool`, and written out for the reader. */
export const mission = {
  minConnections: 10,
  maxConnections: 100,
  commandTimeout: Duration.seconds(60),
  maxUses: 50_000,
  idleTimeout: Duration.minutes(5)
} satisfies Partial<PgPoolConfig.PgPoolConfig>

/** What the criteria are judged by. */
export const bounds = {
  acquisitionMillis: 10,
  improvement: 10,
  reuse: 0.9
}

/** The load of the phase that has more callers than can be served. */
export const saturation = {
  connections: 5,
  callers: 400,
  /** They come within this time, evenly. */
  arrival: Duration.millis(200),
  maxWaiting: 100,
  acquireTimeout: Duration.millis(150)
}

/** The load of the phase whose writers are interrupted. */
export const adversity = {
  writers: 20,
  connections: 20,
  /** This share of the writes is given up, each after a time between none and this one; the others are waited for. */
  share: 0.3,
  patienceMillis: 25,
  /** How often the server ends one of the connections. */
  terminateEvery: Duration.millis(100)
}
