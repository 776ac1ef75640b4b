/**
 * What an error of the client means for the operations that met it. The client is any `SqlClient`, so a pool's errors
 * are known by their tags and the server's by their SQLSTATE, wherever they stand in the chain of causes.
 *
 * @internal
 */
import * as Predicate from "effect/Predicate"
import { causes } from "../causes.ts"
import type { Kind } from "./state.ts"

/** @internal */
export const kindOf = (error: unknown): Kind => {
  // From the outside in: a pool that is down says so, and carries the reason along.
  for (const cause of causes(error)) {
    const kind = ofTag(cause) ?? ofCode(cause)
    if (kind !== undefined) return kind
  }
  return "refused"
}

const tags: Record<string, Kind> = {
  AcquireTimeout: "saturated",
  PoolSaturated: "saturated",
  PoolUnavailable: "saturated",
  PoolClosed: "fatal",
  NestedAcquire: "fatal"
}

const codes: Record<string, Kind> = {
  // Too many connections; the server starts up or shuts down and lets nobody in.
  "53300": "saturated",
  "57P03": "saturated",
  // The session is ended: by an administrator, a crash, a database that is dropped, a silence.
  "57P01": "lost",
  "57P02": "lost",
  "57P04": "fatal",
  "57P05": "lost",
  "25P03": "lost",
  // Read only all of a sudden: the server was replaced, and the next connection is to another one.
  "25006": "lost",
  "40001": "conflict",
  "40P01": "conflict",
  "55P03": "conflict",
  // The database does not exist.
  "3D000": "fatal"
}

const classes: Record<string, Kind> = { "08": "lost", "28": "fatal" }

const ofTag = (error: unknown): Kind | undefined =>
  Predicate.hasProperty(error, "_tag") && typeof error._tag === "string" && Object.hasOwn(tags, error._tag)
    ? tags[error._tag]
    : undefined

const ofCode = (error: unknown): Kind | undefined => {
  if (!(error instanceof Error)) return undefined
  const code = "code" in error && typeof error.code === "string" ? error.code : ""
  if (systemErrors.test(code)) return "lost"
  if (/^[0-9A-Z]{5}$/.test(code)) return codes[code] ?? classes[code.slice(0, 2)] ?? "refused"
  return driverErrors.test(error.message) ? "lost" : undefined
}

const systemErrors = /^E(CONN|PIPE|TIMEDOUT|HOSTUNREACH|NETUNREACH|NETDOWN|NOTFOUND|AI_AGAIN|ADDR)/

// Of `pg` and its pool, which give these no code.
const driverErrors =
  /^(Connection terminated|Client was closed|Client has encountered a connection error|timeout expired|timeout exceeded|Query read timeout)/
