/**
 * What the witness can fail with: one sentence for whoever started it.
 */
import { PgConnection, type PgPoolConfig, SqlState } from "@checkpool/pg"
import { PoolError } from "@checkpool/pool"
import { Data, Effect, Predicate } from "effect"

/** Ends the program; the message is all that is shown. */
export class WitnessError extends Data.TaggedError("WitnessError")<{
  readonly message: string
  readonly cause?: unknown
}> {}

/** The innermost message in a chain of causes: what really happened. */
export const reason = (error: unknown): string => {
  let message = String(error)
  const seen = new Set<unknown>()
  for (let current = error; current instanceof Error && !seen.has(current); current = current.cause) {
    seen.add(current)
    const code = "code" in current && typeof current.code === "string" ? current.code : undefined
    if (current.message !== "" || code !== undefined) message = current.message || (code ?? "")
  }
  return message
}

/** The name of what went wrong: the pool's error in it, a SQLSTATE, or its tag. What no server said, the network did. */
export const tag = (error: unknown): string => {
  const poolError = PoolError.findPoolError(error)
  if (poolError !== undefined) return poolError._tag
  const sqlState = SqlState.of(error)
  if (sqlState !== undefined) return `SQLSTATE ${sqlState}`
  if (!Predicate.hasProperty(error, "_tag")) return "Defect"
  return error._tag === "CheckpointerError" ? "ConnectionLost" : String(error._tag)
}

/** Why there is no connection, for somebody who can do something about it. Never with the password. */
export const connectionError = (
  config: PgPoolConfig.PgPoolConfig,
  error: unknown
): Effect.Effect<never, WitnessError> =>
  PgConnection.makeClient(config).pipe(
    Effect.matchEffect({
      onFailure: () => unreadable,
      onSuccess: ({ database, host, port, user }) =>
        new WitnessError({ message: sentence({ database, host, port, user }, error), cause: error })
    })
  )

/** It does not quote the URL: there is a password in it. */
export const unreadable = new WitnessError({
  message:
    "The URL can't be read: it has to look like postgres://user:password@host:5432/database, " +
    "with special characters percent-encoded."
})

interface Place {
  readonly host: string
  readonly port: number
  readonly database?: string | undefined
  readonly user?: string | undefined
}

const sentence = ({ database, host, port, user }: Place, error: unknown): string => {
  const server = `${host}:${port}`
  const why = reason(error)
  if (PoolError.findPoolError(error) !== undefined || Predicate.isTagged(causeOf(error), "ConnectTimeout")) {
    return `The server at ${server} does not answer: no connection within 5 seconds.`
  }
  if (/ECONNREFUSED/.test(why)) return `Nothing listens at ${server}: is the database running there?`
  if (/ENOTFOUND|EAI_AGAIN/.test(why)) return `The host ${host} can't be found: is the name in the URL right?`
  if (/password must be a string/i.test(why)) return `The server at ${server} wants a password, and the URL has none.`
  switch (SqlState.of(error)) {
    case "28P01":
      return `The server at ${server} refuses the password of user "${user}".`
    case "28000":
      return `The server at ${server} does not let user "${user}" in: ${why}.`
    case "3D000":
      return `The server at ${server} has no database "${database}".`
    case "53300":
      return `The server at ${server} has no connection to spare: ${why}.`
    case "57P03":
      return `The server at ${server} is starting up or shutting down: try again in a moment.`
  }
  return `No connection to ${server}, database "${database}", as user "${user}": ${why}.`
}

const causeOf = (error: unknown): unknown => (Predicate.hasProperty(error, "cause") ? error.cause : undefined)
