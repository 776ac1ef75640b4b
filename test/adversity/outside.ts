/**
 * A connection of its own to the server, for looking at it and disturbing it from outside of the pool under test. It
 * comes back by itself when the server does.
 */
import { Effect, Redacted } from "effect"
import pg from "pg"

export interface Outside {
  readonly query: <Row extends object>(text: string, values?: ReadonlyArray<unknown>) => Effect.Effect<Array<Row>>
  /** The server's own count of the connections that are not from outside, those that still start or end included. */
  readonly backends: Effect.Effect<number>
  /** How many statements that begin like this run on the server now. */
  readonly running: (text: string) => Effect.Effect<number>
  /** Ends every connection of the pool, and waits until the server has done it. */
  readonly terminateAll: Effect.Effect<number>
}

export const makeOutside = (url: Redacted.Redacted) =>
  Effect.map(
    Effect.acquireRelease(
      Effect.sync(() => ({ client: undefined as pg.Client | undefined, lost: true })),
      (state) => Effect.promise(async () => state.client?.end())
    ),
    (state): Outside => {
      const connected = async () => {
        while (state.client === undefined || state.lost) {
          const client = new pg.Client({ connectionString: Redacted.value(url), application_name: "outside" })
          client.on("error", () => {
            if (state.client === client) state.lost = true
          })
          try {
            await client.connect()
            state.client = client
            state.lost = false
          } catch {
            await new Promise((resolve) => setTimeout(resolve, 10))
          }
        }
        return state.client
      }
      const query = <Row extends object>(text: string, values: ReadonlyArray<unknown> = []) =>
        Effect.promise(async (signal) => {
          while (!signal.aborted) {
            const client = await connected()
            try {
              return (await client.query<Row>(text, [...values])).rows
            } catch (error) {
              if (!state.lost && (error as { code?: string }).code?.startsWith("57P") !== true) throw error
            }
          }
          return []
        })
      const count = (where: string, values?: ReadonlyArray<unknown>) =>
        Effect.map(
          query<{ n: number }>(
            `SELECT count(*)::int AS n FROM pg_stat_activity
              WHERE backend_type = 'client backend' AND application_name <> 'outside' AND ${where}`,
            values
          ),
          (rows) => rows[0]?.n ?? -1
        )
      const backends = count("true")
      return {
        query,
        backends,
        running: (text) => count("state = 'active' AND starts_with(query, $1)", [text]),
        terminateAll: Effect.gen(function* () {
          const ended = yield* query<{ pid: number }>(
            `SELECT pid, pg_terminate_backend(pid, 10000) FROM pg_stat_activity
              WHERE backend_type = 'client backend' AND application_name <> 'outside'`
          )
          return ended.length
        })
      }
    }
  )
