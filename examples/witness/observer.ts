/**
 * The look from outside: a connection of its own to the server, that counts ours and reads what the server counts.
 */
import { PgPool, type PgPoolConfig } from "@checkpool/pg"
import { SqlClient, type SqlError } from "@effect/sql"
import { Context, Effect, Layer, type Redacted, Ref, Schedule } from "effect"
import { connectionError, reason, WitnessError } from "./trouble.ts"

/** Marks the connections that are counted, in `pg_stat_activity`. One for each run: others may be on the same server. */
export const applicationName = (run: string): string => `checkpool-witness-${run}`

export interface ServerFacts {
  readonly version: string
  readonly maxConnections: number
  /** Kept for superusers and such, out of `maxConnections`. */
  readonly reserved: number
  readonly used: number
  /** How many more this user may open in this database. */
  readonly free: number
  readonly mayCreate: boolean
  readonly user: string
  readonly database: string
}

/** The counters of our database, as the server keeps them. */
export type Statistics = Readonly<Record<(typeof counters)[number], number | null>>

/** Those of `pg_stat_database` that are shown; older servers don't have all of them. */
export const counters = [
  "sessions",
  "xact_commit",
  "xact_rollback",
  "tup_inserted",
  "tup_updated",
  "tup_fetched",
  "deadlocks",
  "sessions_abandoned",
  "sessions_killed"
] as const

export interface Observer {
  readonly sql: SqlClient.SqlClient
  readonly facts: Effect.Effect<ServerFacts, WitnessError>
  readonly statistics: Effect.Effect<Statistics, WitnessError>
  /** How many of our connections the server has now. */
  readonly connections: Effect.Effect<number, WitnessError>
  /** Runs the effect, and counts our connections meanwhile: the most that were seen at once. */
  readonly withPeak: <A, E, R>(
    effect: Effect.Effect<A, E, R>
  ) => Effect.Effect<readonly [A, number], E | WitnessError, R>
  /** Waits until the server has none of our connections any more, and gives how many it has after 5 seconds. */
  readonly remaining: Effect.Effect<number, WitnessError>
  /** Ends one of our connections, as an administrator would, and gives how many it ended. */
  readonly terminateOne: Effect.Effect<number, WitnessError>
}

export const make = Effect.fnUntraced(function* (url: Redacted.Redacted, run: string) {
  const config: PgPoolConfig.PgPoolConfig = {
    url,
    name: "witness observer",
    applicationName: "checkpool-witness-observer",
    minConnections: 1,
    maxConnections: 1
  }
  const sql = yield* Layer.build(PgPool.layer(config)).pipe(
    Effect.map((context) => Context.get(context, SqlClient.SqlClient)),
    Effect.catchAll((error) => connectionError(config, error))
  )
  const ours = applicationName(run)

  const connections = sql<{ n: number }>`
    SELECT count(*)::int AS n FROM pg_stat_activity WHERE application_name = ${ours}`.pipe(
    Effect.map(([row]) => row?.n ?? 0),
    orLost
  )

  const observer: Observer = {
    sql,
    connections,
    facts: orLost(facts(sql)),
    statistics: sql<{ row: Record<string, number> }>`
      SELECT to_jsonb(d) AS row FROM pg_stat_database AS d WHERE datname = current_database()`.pipe(
      Effect.map(([found]) => Object.fromEntries(counters.map((key) => [key, found?.row[key] ?? null])) as Statistics),
      orLost
    ),
    withPeak: (effect) =>
      Effect.gen(function* () {
        const peak = yield* Ref.make(0)
        // Uninterruptible for the length of a statement: an interrupted one costs the connection.
        const look = Effect.uninterruptible(
          Effect.flatMap(connections, (n) => Ref.update(peak, (most) => Math.max(most, n)))
        )
        const result = yield* Effect.raceFirst(
          effect,
          Effect.zipRight(Effect.repeat(look, Schedule.spaced("25 millis")), Effect.never)
        )
        return [result, yield* Ref.get(peak)] as const
      }),
    remaining: connections.pipe(
      Effect.repeat({
        until: (n) => n === 0,
        schedule: Schedule.intersect(Schedule.spaced("10 millis"), Schedule.recurUpTo("5 seconds"))
      }),
      Effect.zipRight(connections)
    ),
    terminateOne: orLost(
      Effect.map(
        sql`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = ${ours} ORDER BY random() LIMIT 1`,
        ({ length }) => length
      )
    )
  }
  return observer
})

/** Everything here is about the same server that the phases use: without it there is no point in going on. */
const orLost = <A>(effect: Effect.Effect<A, SqlError.SqlError>): Effect.Effect<A, WitnessError> =>
  Effect.mapError(
    effect,
    (cause) => new WitnessError({ message: `The server no longer answers as it should: ${reason(cause)}.`, cause })
  )

const facts = (sql: SqlClient.SqlClient): Effect.Effect<ServerFacts, SqlError.SqlError> =>
  Effect.map(
    sql<Omit<ServerFacts, "free"> & { readonly free: number }>`
      WITH s AS (
        SELECT current_setting('max_connections')::int AS most,
          CASE WHEN r.rolsuper THEN 0
            ELSE current_setting('superuser_reserved_connections')::int
              + coalesce(current_setting('reserved_connections', true)::int, 0) END AS reserved,
          (SELECT sum(numbackends) FROM pg_stat_database)::int AS used,
          CASE WHEN r.rolconnlimit < 0 THEN 1000000
            ELSE r.rolconnlimit - (SELECT count(*) FROM pg_stat_activity WHERE usename = current_user) END::int AS role_free,
          CASE WHEN d.datconnlimit < 0 OR r.rolsuper THEN 1000000 ELSE d.datconnlimit - b.numbackends END::int AS database_free
        FROM pg_roles r, pg_database d JOIN pg_stat_database b ON b.datid = d.oid
        WHERE r.rolname = current_user AND d.datname = current_database()
      )
      SELECT current_setting('server_version') AS version, most AS "maxConnections", reserved, used,
        least(most - reserved - used, role_free, database_free) AS free,
        has_database_privilege(current_database(), 'CREATE') AS "mayCreate",
        current_user::text AS "user", current_database()::text AS "database"
      FROM s`,
    ([row]) => row!
  )
