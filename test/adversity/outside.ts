/**
 * A connection of its own to the server, for looking at it and disturbing it from outside of the pool under test. It
 * comes back by itself when the server does.
 */
import * as NodeNet from "node:net"
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
  /** How many connections from outside were lost. */
  readonly losses: () => number
  /** The local ports of the connections from outside so far. */
  readonly ports: ReadonlySet<number>
}

export const makeOutside = (url: Redacted.Redacted) =>
  Effect.map(
    Effect.acquireRelease(
      Effect.sync(() => ({ client: undefined as pg.Client | undefined })),
      (state) => Effect.promise(async () => state.client?.end())
    ),
    (state): Outside => {
      const ports = new Set<number>()
      let losses = 0
      const connect = async (): Promise<pg.Client> => {
        for (;;) {
          const socket = new NodeNet.Socket()
          socket.once("connect", () => ports.add(socket.localPort ?? 0))
          const client = new pg.Client({
            connectionString: Redacted.value(url),
            application_name: "outside",
            stream: () => socket
          })
          client.on("error", () => {
            if (state.client !== client) return
            state.client = undefined
            losses++
          })
          try {
            await client.connect()
            state.client = client
            return client
          } catch {
            await new Promise((resolve) => setTimeout(resolve, 10))
          }
        }
      }
      let connecting: Promise<pg.Client> | undefined
      const connected = async (): Promise<pg.Client> => {
        if (state.client !== undefined) return state.client
        connecting ??= connect()
        const client = await connecting
        connecting = undefined
        return client
      }
      const query = <Row extends object>(text: string, values: ReadonlyArray<unknown> = []) =>
        Effect.promise(async (signal) => {
          while (!signal.aborted) {
            const client = await connected()
            try {
              return (await client.query<Row>(text, [...values])).rows
            } catch (error) {
              if (state.client === client && (error as { code?: string }).code?.startsWith("57P") !== true) throw error
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
        ports,
        losses: () => losses,
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
