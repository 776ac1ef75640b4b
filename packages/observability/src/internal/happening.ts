/**
 * Events of a pool in the words of the live page. Messages of errors are not among them: they may quote hosts, users and
 * values.
 */
import * as SqlState from "@checkpool/pg/SqlState"
import type { CloseReason, PoolEvent } from "@checkpool/pool/PoolEvent"
import * as Predicate from "effect/Predicate"

/** @internal */
export interface Happening {
  readonly pool: string
  readonly what: string
  readonly why: string
  readonly level: "info" | "good" | "warning" | "bad"
}

/** @internal */
export const describe = (event: PoolEvent): Happening => {
  const say = (level: Happening["level"], what: string, why = ""): Happening => ({ pool: event.pool, what, why, level })
  switch (event._tag) {
    case "Opened":
      return say("info", "Connection opened", `in ${time(event.took)}, ${event.total} in all`)
    case "ConnectFailed":
      return say("bad", "Connect failed", `${code(event.error)}; next attempt in ${time(event.retryIn)}`)
    case "AtCapacity":
      return say("warning", "Server is full", `${code(event.error)}; carries on with ${event.total}`)
    case "Closed":
      return say(
        closeLevels[event.reason] ?? "info",
        "Connection closed",
        closed(event.reason, event.detail, event.age)
      )
    case "Saturated":
      return say("bad", "Saturated", `${event.waiting} wait, the oldest for ${time(event.oldestWait)}`)
    case "Relieved":
      return say("good", "Relieved", `after ${time(event.lasted)}; ${event.rejected} turned away`)
    case "AcquireTimedOut":
      return say("warning", "A caller gave up", `after ${time(event.waited)}; ${event.waiting} wait`)
    case "Unavailable":
      return say("bad", "Unavailable", `${code(event.error)}, for ${time(event.lasted)}`)
    case "Available":
      return say("good", "Available again", `after ${time(event.lasted)}`)
    case "LeakSuspected":
      return say(
        "warning",
        "Leak suspected",
        `held for ${time(event.held)}${event.holder ? ` by ${event.holder}` : ""}`
      )
    case "Resized":
      return say("info", "Resized", `to ${event.min}–${event.max}`)
    case "Draining":
      return say("warning", "Draining", `${event.leased} still lent`)
    case "Drained":
      return say("info", "Closed", event.forced === 0 ? "" : `${event.forced} connections cut`)
  }
}

const closeReasons: Record<CloseReason, string> = {
  idle: "idle for too long",
  lifetime: "end of its lifetime",
  maxUses: "used as often as allowed",
  expired: "its generation was ended",
  invalidated: "broke, or was given up",
  recycled: "not fit for another use",
  checkFailed: "did not pass its check",
  checkTimedOut: "did not answer its check",
  resetFailed: "could not be reset",
  resetTimedOut: "resetting it took too long",
  hookFailed: "its hook failed",
  resized: "the pool was made smaller",
  drained: "the pool closes",
  forced: "the pool's grace ended",
  abandoned: "opening it took too long"
}

const closeLevels: { readonly [_ in CloseReason]?: Happening["level"] } = {
  invalidated: "warning",
  checkFailed: "warning",
  checkTimedOut: "warning",
  resetFailed: "warning",
  resetTimedOut: "warning",
  hookFailed: "warning",
  forced: "warning",
  abandoned: "warning"
}

const closed = (reason: CloseReason, detail: unknown, age: number): string => {
  const code = SqlState.of(detail) ?? systemCode(detail)
  return `${closeReasons[reason]}${code === undefined ? "" : ` (${code})`}; lived ${time(age)}`
}

const code = (error: unknown): string => {
  const sqlState = SqlState.of(error)
  return sqlState === undefined ? (systemCode(error) ?? "no answer") : `SQLSTATE ${sqlState}`
}

const systemCode = (error: unknown): string | undefined => {
  if (Predicate.hasProperty(error, "code") && typeof error.code === "string") return error.code
  return Predicate.hasProperty(error, "cause") ? systemCode(error.cause) : undefined
}

const time = (millis: number): string =>
  millis < 1000
    ? `${Math.round(millis)} ms`
    : millis < 120_000
      ? `${(millis / 1000).toFixed(1)} s`
      : `${Math.round(millis / 60_000)} min`
