/**
 * Where the phases work: a server, a schema of our own in it, how many connections it can spare, and the ways to it.
 */
import { EmbeddedPostgres, TcpRelay } from "@checkpool/embedded"
import { PgConnection, type PgPoolConfig } from "@checkpool/pg"
import { Effect, Option, Redacted } from "effect"
import * as Observer from "./observer.ts"
import type { Settings } from "./settings.ts"
import { mission } from "./settings.ts"
import { connectionError, reason, unreadable, WitnessError } from "./trouble.ts"

/** Loopback, or whatever lies between us and a database of one's own; and the same through the relay. */
export type Place = "direct" | "relay"

export interface Target {
  readonly run: string
  readonly observer: Observer.Observer
  readonly facts: Observer.ServerFacts
  readonly embedded: boolean
  readonly schema: string
  /** The mission's bounds, as far as the server has room for them. */
  readonly min: number
  readonly max: number
  /** How to connect by each way; there is no relay for a Unix socket. */
  readonly ways: ReadonlyMap<Place, PgPoolConfig.PgPoolConfig>
  readonly remarks: ReadonlyArray<string>
}

export interface Options {
  readonly url: Option.Option<Redacted.Redacted>
  readonly schema: Option.Option<string>
  readonly settings: Settings
}

/** Connections that the witness needs beside the pool's, and the least that make a pool. */
const spare = 2
const least = 10

export const make = Effect.fnUntraced(function* ({ schema, settings, url: given }: Options) {
  const run = Math.floor(Math.random() * 2 ** 32)
    .toString(16)
    .padStart(8, "0")
  const url = yield* Option.match(given, {
    // A stock server but for the room that the mission's maximum and the observer need.
    onNone: () => Effect.map(EmbeddedPostgres.make({ parameters: { max_connections: "120" } }), ({ url }) => url),
    // Anything else, a path say, is read by the driver as some host or other.
    onSome: (url) => (/^postgres(ql)?:\/\//.test(Redacted.value(url)) ? Effect.succeed(url) : unreadable)
  })
  const observer = yield* Observer.make(url, run)
  const facts = yield* observer.facts
  const free = facts.free - spare
  if (free < least) {
    return yield* new WitnessError({
      message: `The server can spare ${Math.max(0, free)} connections at present, and this needs at least ${least}.`
    })
  }
  const max = Math.min(mission.maxConnections, free)
  if (settings.threads > max) {
    return yield* new WitnessError({
      message: `--threads ${settings.threads} is more than the ${max} connections that the pool may have here.`
    })
  }
  const direct: PgPoolConfig.PgPoolConfig = { url }
  const relayed = yield* throughRelay(direct, settings)
  return {
    run,
    observer,
    facts,
    embedded: Option.isNone(given),
    schema: yield* ownSchema(
      observer,
      facts,
      Option.getOrElse(schema, () => `checkpool_witness_${run}`)
    ),
    min: Math.min(mission.minConnections, max),
    max,
    ways: new Map([["direct", direct], ...(relayed === undefined ? [] : ([["relay", relayed]] as const))]),
    remarks: [
      ...(max < mission.maxConnections
        ? [
            `The server has room for ${facts.free} more connections (${facts.maxConnections} in all, ` +
              `${facts.reserved} reserved, ${facts.used} in use), so the pool's maximum is ${max} instead of ` +
              `${mission.maxConnections}.`
          ]
        : []),
      ...(relayed === undefined ? ["The URL names a Unix socket, so the phases through the relay are left out."] : [])
    ]
  } satisfies Target
})

/** Created here, and gone with all that is in it when the scope closes. One that is there already is somebody's. */
const ownSchema = ({ sql }: Observer.Observer, facts: Observer.ServerFacts, name: string) =>
  Effect.acquireRelease(
    Effect.as(sql`CREATE SCHEMA ${sql(name)}`, name).pipe(
      Effect.mapError((cause) => {
        const why = reason(cause)
        return new WitnessError({
          message: /already exists/.test(why)
            ? `The schema "${name}" exists already, and the witness wants one of its own: choose another --schema.`
            : !facts.mayCreate
              ? `The user "${facts.user}" may not create a schema in the database "${facts.database}": ` +
                `let its owner run GRANT CREATE ON DATABASE "${facts.database}" TO "${facts.user}".`
              : `The schema "${name}" can't be created: ${why}.`,
          cause
        })
      })
    ),
    () =>
      sql`DROP SCHEMA ${sql(name)} CASCADE`.pipe(
        Effect.retry({ times: 1 }),
        Effect.catchAll((cause) =>
          Effect.sync(() =>
            process.stderr.write(`The schema "${name}" could not be dropped, please do it by hand: ${reason(cause)}.\n`)
          )
        )
      )
  )

/** The same database through a relay that adds a round trip, if it is reached by TCP. */
const throughRelay = Effect.fnUntraced(function* (config: PgPoolConfig.PgPoolConfig, settings: Settings) {
  const { host, port, ssl } = yield* Effect.catchAll(PgConnection.makeClient(config), (error) =>
    connectionError(config, error)
  )
  if (host.startsWith("/")) return undefined
  const relay = yield* TcpRelay.make({ target: { host, port }, roundTrip: settings.roundTripMillis })
  const url = new URL(Redacted.value(config.url!))
  url.searchParams.delete("host")
  url.searchParams.delete("port")
  url.hostname = relay.host
  url.port = String(relay.port)
  if (!ssl) return { url: Redacted.make(url.href) } satisfies PgPoolConfig.PgPoolConfig
  // The certificate is the server's and not the relay's: its name is checked against the server's.
  for (const key of [...url.searchParams.keys()]) if (key.startsWith("ssl")) url.searchParams.delete(key)
  const options: object = typeof ssl === "object" ? ssl : {}
  return {
    url: Redacted.make(url.href),
    ssl: { servername: host, ...options }
  } satisfies PgPoolConfig.PgPoolConfig
})
