/**
 * Puts a pool on a real server through something, and checks what every ordeal has to leave behind: no lease, no
 * socket, no timer, no session on the server, and never more of them in between than the maximum.
 */
import * as NodeFs from "node:fs"
import * as NodePath from "node:path"
import { EmbeddedPostgres } from "@checkpool/embedded"
import { PgPool, type PgPoolConfig } from "@checkpool/pg"
import type { SqlClient } from "@effect/sql"
import type { PgClient } from "@effect/sql-pg"
import { expect } from "@effect/vitest"
import { Context, type Duration, Effect, Fiber, Layer, Redacted, type Scope } from "effect"
import { eventually } from "./eventually.ts"
import { record } from "./figures.ts"
import { makeOutside } from "./outside.ts"
import { sessionsIn } from "./sessions.ts"
import { noteTimers } from "./timers.ts"
import { makeWatch, type Watch } from "./watch.ts"

/** Everything is run at its full size: `ADVERSITY=full`, as the report does. */
export const full = process.env.ADVERSITY === "full"

export type Config = Partial<PgPoolConfig.PgPoolConfig> & {
  readonly maxConnections: number
  /** Connections that the network takes from both sides: the server learns of it by itself, in its own time. */
  readonly torn?: number
  /** How long leases may take to end, when nobody uses them any more. Default: 20 s, longer than any limit of the pool. */
  readonly patience?: Duration.DurationInput
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
  { patience = "20 seconds", torn = 0, ...config }: Config,
  body: (watch: Watch) => Effect.Effect<A, E, R | Provided | Scope.Scope>
) =>
  Effect.gen(function* () {
    const server = yield* EmbeddedPostgres.EmbeddedPostgres
    const max = config.maxConnections + torn
    const before = yield* resources
    const timers = yield* Effect.acquireRelease(Effect.sync(noteTimers), (timers) => Effect.sync(timers.stop))
    const figures = yield* Effect.scoped(
      Effect.gen(function* () {
        const outside = yield* makeOutside(server.url)
        yield* eventually(outside.backends, (n) => n === 0)
        const log = logOf(server)
        const account = () => sessionsIn(log(), outside.ports)
        const { options, watch, measured } = makeWatch(
          { url: server.url, minConnections: 0, ...config },
          outside,
          account
        )
        let mostSeen = 0
        const sampler = yield* outside.backends.pipe(
          Effect.tap((n) => {
            mostSeen = Math.max(mostSeen, n)
            return Effect.sleep("5 millis")
          }),
          Effect.forever,
          Effect.forkScoped
        )
        const attempts = yield* Effect.scoped(
          Effect.gen(function* () {
            const context = yield* Layer.build(PgPool.layer(options))
            yield* Effect.provide(Effect.scoped(body(watch)), context)
            const { connectFailures, opened, total } = yield* eventually(
              Context.get(context, PgPool.PgPool).stats,
              ({ checking, leased, resetting, waiting }) => leased + waiting + checking + resetting === 0,
              patience
            )
            expect(total).toBeLessThanOrEqual(config.maxConnections)
            return opened + connectFailures
          })
        )
        yield* eventually(outside.backends, (n) => n === 0, patience)
        yield* eventually(
          Effect.sync(() => watch.sockets.filter((socket) => !socket.destroyed).length),
          (open) => open === 0,
          patience
        )
        yield* Fiber.interrupt(sampler)
        const { connecting, sessions } = account()
        const mostBackends = Math.max(mostSeen, sessions)
        expect(mostBackends, "connections that the server counted at once").toBeLessThanOrEqual(max)
        return { ...measured(), attempts, max, mostBackends, mostConnecting: connecting }
      })
    )
    timers.stop()
    // Nothing is left to wait for: what is still there now stays, if only for a limit's length.
    yield* eventually(
      Effect.map(resources, (after) => ({ timers: timers.left(), ...beyond(before, after) })),
      (left) => left.timers.length === 0 && Object.keys(left).length === 1,
      "1 second"
    )
    record({ name, ...figures, left: 0 })
  }).pipe(Effect.scoped)

/** What the server's log says from here on. */
const logOf = ({ dataDir }: EmbeddedPostgres.Service) => {
  const path = NodePath.join(dataDir, "server.log")
  const from = NodeFs.statSync(path).size
  return () => NodeFs.readFileSync(path).subarray(from).toString()
}

type Counts = Readonly<Record<string, number>>

/** What keeps the process alive, by kind: sockets, files, children, … */
const resources = Effect.sync((): Counts => {
  const counts: Record<string, number> = {}
  for (const kind of process.getActiveResourcesInfo()) counts[kind] = (counts[kind] ?? 0) + 1
  return counts
})

/** What there is more of than before, but for timers, which are noted one by one. */
const beyond = (before: Counts, after: Counts): Counts =>
  Object.fromEntries(
    Object.entries(after)
      .map(([kind, count]) => [kind, count - (before[kind] ?? 0)] as const)
      .filter(([kind, more]) => more > 0 && kind !== "Timeout" && kind !== "Immediate")
  )
