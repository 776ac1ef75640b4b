/**
 * Looks at one pool during an ordeal: its events, its sockets, the server from outside, and how long it took.
 */
import * as NodeNet from "node:net"
import type { PgConnection, PgPoolConfig } from "@checkpool/pg"
import type { PoolEvent } from "@checkpool/pool"
import { Effect } from "effect"
import type { Told } from "./figures.ts"
import type { Outside } from "./outside.ts"
import type { Account } from "./sessions.ts"

export interface Watch {
  readonly outside: Outside
  /** What the pool told so far. */
  readonly events: ReadonlyArray<PoolEvent.PoolEvent>
  /** Why the pool closed connections so far. */
  readonly closed: () => ReadonlyArray<PoolEvent.CloseReason>
  /** Sockets that the pool opened so far, those for cancels included. */
  readonly sockets: ReadonlyArray<NodeNet.Socket>
  /** The most sockets that were on their way to a ready session at once, those for cancels included. */
  readonly mostConnecting: () => number
  /** What the server's log says of the pool's sessions so far. */
  readonly account: () => Account
  /** From now on it can work again: the network is back, the server is up. */
  readonly mended: Effect.Effect<void>
  /** It works again, as a caller sees it. */
  readonly works: Effect.Effect<void>
  /** Figures for the report. */
  readonly report: (told: Told) => Effect.Effect<void>
}

/** The options of a pool that is watched, the watch, and what came of it. */
export const makeWatch = (config: PgPoolConfig.PgPoolConfig, outside: Outside, account: () => Account) => {
  const events: Array<PoolEvent.PoolEvent> = []
  const sockets: Array<NodeNet.Socket> = []
  const connecting = new Set<NodeNet.Socket>()
  let mostConnecting = 0
  let told: Told = {}
  let mended: number | undefined
  let backAfter: number | undefined
  const options: PgPoolConfig.PgPoolConfig = {
    ...config,
    stream: () => {
      const socket = new NodeNet.Socket()
      sockets.push(socket)
      connecting.add(socket)
      mostConnecting = Math.max(mostConnecting, connecting.size)
      socket.once("close", () => connecting.delete(socket))
      return socket
    },
    onConnect: (connection) =>
      Effect.zipRight(
        Effect.sync(() => connecting.delete(socketOf(connection))),
        config.onConnect?.(connection) ?? Effect.void
      ),
    observer: {
      ...config.observer,
      event: (event) => {
        events.push(event)
        config.observer?.event?.(event)
      }
    }
  }
  const watch: Watch = {
    outside,
    events,
    closed: () => events.flatMap((event) => (event._tag === "Closed" ? [event.reason] : [])),
    sockets,
    mostConnecting: () => mostConnecting,
    account,
    mended: Effect.sync(() => {
      mended = performance.now()
    }),
    works: Effect.sync(() => {
      if (mended !== undefined) backAfter ??= performance.now() - mended
    }),
    report: (figures) =>
      Effect.sync(() => {
        told = figures
      })
  }
  return { options, watch, measured: () => ({ told, backAfter }) }
}

/** The socket below a connection: one of the watch's, unless there is TLS in between. */
export const socketOf = (connection: PgConnection.PgConnection): NodeNet.Socket =>
  (connection.client as unknown as { readonly connection: { readonly stream: NodeNet.Socket } }).connection.stream
