/**
 * Puts a pool on a real server through something, and checks what every ordeal has to leave behind: no lease, no
 * socket, no timer, no connection on the server, and never more of them in between than the maximum.
 */
import * as NodeNet from "node:net"
import { EmbeddedPostgres } from "@checkpool/embedded"
import { type PgConnection, PgPool, type PgPoolConfig } from "@checkpool/pg"
import type { PoolEvent } from "@checkpool/pool"
import type { SqlClient } from "@effect/sql"
import type { PgClient } from "@effect/sql-pg"
import { expect } from "@effect/vitest"
import { Context, Effect, Fiber, Layer, Redacted, type Scope } from "effect"
import { eventually } from "./eventually.ts"
import { makeOutside, type Outside } from "./outside.ts"

/** Everything is run at its full size, and the figures are printed: `ADVERSITY=full`. */
export const full = process.env.ADVERSITY === "full"

export type Config = Partial<PgPoolConfig.PgPoolConfig> & {
  readonly maxConnections: number
  /** Connections that the network takes from both sides: the server learns of it by itself, in its own time. */
  readonly torn?: number
}

export interface Watch {
  readonly outside: Outside
  /** What the pool told so far. */
  readonly events: Array<PoolEvent.PoolEvent>
  /** Why the pool closed connections so far. */
  readonly closed: () => ReadonlyArray<PoolEvent.CloseReason>
  /** Sockets that the pool opened so far, those for cancels included. */
  readonly sockets: ReadonlyArray<NodeNet.Socket>
  /** The most sockets that were on their way to a ready session at once. */
  readonly mostConnecting: () => number
  /** The most connections that the server counted at once. */
  readonly mostBackends: () => number
  /** A line of figures for the report. */
  readonly report: (figures: Record<string, unknown>) => Effect.Effect<void>
}

type Provided = PgPool.PgPool | PgClient.PgClient | SqlClient.SqlClient

/** The server's URL, by way of another address: a relay's, a pooler's. */
export const through = (url: Redacted.Redacted, way: { readonly host: string; readonly port: number }) => {
  const changed = new URL(Redacted.value(url))
  changed.host = `${way.host}:${way.port}`
  return Redacted.make(changed.toString())
}

export const ordeal = <A, E, R>(
  name: string,
  { torn = 0, ...config }: Config,
  body: (watch: Watch) => Effect.Effect<A, E, R | Provided | Scope.Scope>
) =>
  Effect.gen(function* () {
    const server = yield* EmbeddedPostgres.EmbeddedPostgres
    const before = yield* resources
    const result = yield* Effect.scoped(
      Effect.gen(function* () {
        const outside = yield* makeOutside(server.url)
        expect(yield* outside.backends).toBe(0)
        const { options, watch } = makeWatch(name, { url: server.url, minConnections: 0, ...config }, outside)
        const sampler = yield* Effect.forkScoped(
          Effect.forever(Effect.tap(outside.backends, (n) => Effect.zipRight(watch.saw(n), Effect.sleep("5 millis"))))
        )
        const result = yield* Effect.scoped(
          Effect.gen(function* () {
            const context = yield* Layer.build(PgPool.layer(options))
            const result = yield* Effect.provide(Effect.scoped(body(watch)), context)
            const quiet = yield* eventually(
              Context.get(context, PgPool.PgPool).stats,
              ({ leased, waiting, checking, resetting }) => leased + waiting + checking + resetting === 0
            )
            expect(quiet.total).toBeLessThanOrEqual(config.maxConnections)
            return result
          })
        )
        yield* eventually(outside.backends, (n) => n === 0)
        yield* eventually(
          Effect.sync(() => watch.sockets.filter((socket) => !socket.destroyed).length),
          (open) => open === 0
        )
        expect(watch.mostBackends()).toBeLessThanOrEqual(config.maxConnections + torn)
        yield* Fiber.interrupt(sampler)
        return result
      })
    )
    yield* eventually(resources, (after) =>
      Object.entries(after).every(([kind, count]) => count <= (before[kind] ?? 0))
    )
    return result
  })

/** What keeps the process alive, by kind: sockets, timers, … */
const resources = Effect.map(
  // Right after a pause, when no timer of this fiber's own is on.
  Effect.sleep("1 millis"),
  () => {
    const counts: Record<string, number> = {}
    for (const kind of process.getActiveResourcesInfo()) counts[kind] = (counts[kind] ?? 0) + 1
    return counts
  }
)

const makeWatch = (name: string, config: Config, outside: Outside) => {
  const events: Array<PoolEvent.PoolEvent> = []
  const sockets: Array<NodeNet.Socket> = []
  const connecting = new Set<NodeNet.Socket>()
  let mostConnecting = 0
  let mostBackends = 0
  const began = performance.now()
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
  const watch: Watch & { readonly saw: (backends: number) => Effect.Effect<void> } = {
    outside,
    events,
    closed: () => events.flatMap((event) => (event._tag === "Closed" ? [event.reason] : [])),
    sockets,
    mostConnecting: () => mostConnecting,
    mostBackends: () => mostBackends,
    report: (figures) =>
      Effect.sync(() => {
        const took = `${Math.round(performance.now() - began)} ms`
        if (full) console.log(name, { ...figures, mostBackends, mostConnecting, sockets: sockets.length, took })
      }),
    saw: (backends) =>
      Effect.sync(() => {
        mostBackends = Math.max(mostBackends, backends)
      })
  }
  return { options, watch }
}

/** The socket below a connection: one of the watch's, unless there is TLS in between. */
export const socketOf = (connection: PgConnection.PgConnection): NodeNet.Socket =>
  (connection.client as unknown as { readonly connection: { readonly stream: NodeNet.Socket } }).connection.stream
