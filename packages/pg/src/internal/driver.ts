/**
 * The one place that reaches into `pg` beyond its documented API: connecting interruptibly, knowing when a session is
 * quiet, cutting a socket, and cancelling over a socket of its own.
 */
import * as Net from "node:net"
import * as Effect from "effect/Effect"
import type * as Pg from "pg"

interface Innards {
  readonly connection: {
    readonly stream: { destroy(error?: Error): void }
    once(event: "readyForQuery" | "end", listener: () => void): void
    off(event: "readyForQuery" | "end", listener: () => void): void
  }
  readonly processID: number | null
  readonly secretKey: number | null
  readonly host: string
  readonly port: number
}

const innards = (client: Pg.Client): Innards => client as unknown as Innards

/** Connects; an interrupt cuts the socket. @internal */
export const connect = (client: Pg.Client): Effect.Effect<void, Error> =>
  Effect.async<void, Error>((resume) => {
    client.connect((error: Error | null) => resume(error ? Effect.fail(error) : Effect.void))
    return Effect.sync(() => cut(client))
  })

/** Says good-bye and waits until the socket is closed; an interrupt cuts it. @internal */
export const end = (client: Pg.Client): Effect.Effect<void> =>
  Effect.async<void>((resume) => {
    client.end(() => resume(Effect.void))
    return Effect.sync(() => cut(client))
  })

/** @internal */
export const cut = (client: Pg.Client): void => innards(client).connection.stream.destroy()

/** @internal */
export const processId = (client: Pg.Client): number => innards(client).processID ?? 0

/** Calls back once the server is ready for the next query, or the connection has ended. @internal */
export const whenQuiet = (client: Pg.Client, done: () => void): void => {
  const { connection } = innards(client)
  const once = () => {
    connection.off("readyForQuery", once)
    connection.off("end", once)
    done()
  }
  connection.once("readyForQuery", once)
  connection.once("end", once)
}

/** The driver's own error when a query got no answer within `query_timeout`. @internal */
export const isQueryTimeout = (error: Error): boolean => error.message === "Query read timeout"

/**
 * Asks the server to cancel what the session runs, on a socket of its own, and does not wait for it. For a session that
 * will not be used again: a cancel that comes late then hits nobody.
 */
export const cancel = (client: Pg.Client): void => {
  const { host, port, processID, secretKey } = innards(client)
  if (processID === null || secretKey === null) return
  const request = Buffer.alloc(16)
  request.writeInt32BE(16, 0)
  request.writeInt32BE(80877102, 4)
  request.writeInt32BE(processID, 8)
  request.writeInt32BE(secretKey, 12)
  const socket = host.startsWith("/") ? Net.connect(`${host}/.s.PGSQL.${port}`) : Net.connect(port, host)
  socket.setTimeout(5000, () => socket.destroy())
  socket.on("error", () => socket.destroy())
  socket.on("connect", () => socket.end(request))
  socket.unref()
}
