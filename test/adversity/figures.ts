/**
 * What an ordeal has measured, on its way from the test to the report: in the test's meta data.
 */
import { getCurrentTest } from "vitest/suite"

/** What an ordeal tells of itself. Times are in milliseconds. */
export interface Told {
  /** Failures that callers saw. */
  readonly failures?: number
  readonly [what: string]: number | string | boolean | undefined
}

export interface Figures {
  readonly name: string
  readonly told: Told
  /** From when it could work again until it did. */
  readonly backAfter: number | undefined
  /** Connects that were tried, successfully or not. */
  readonly attempts: number
  /** The most that were under way at once, by the server's log. */
  readonly mostConnecting: number
  /** The most connections that the server counted at once. */
  readonly mostBackends: number
  /** The most that it may have counted. */
  readonly max: number
  /** What was still there at the end: leases, sockets, timers, sessions. */
  readonly left: number
}

declare module "vitest" {
  interface TaskMeta {
    figures?: Array<Figures>
  }
}

/** Adds to the report, under the test that runs now. */
export const record = (figures: Figures): void => {
  const meta = getCurrentTest()?.meta
  if (meta !== undefined) meta.figures = [...(meta.figures ?? []), figures]
}
