/**
 * A TCP relay that stands in for the network: it forwards to a server, as slowly as asked, and fails on command.
 *
 * For tests and benchmarks. It has no tag: make one for each connection path that you want to disturb.
 *
 * @since 0.1.0
 */
import * as NodeNet from "node:net"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as DelayLine from "./internal/delayLine.ts"
import { freePort, loopback } from "./internal/freePort.ts"
import { type Link, makeLink, type Side } from "./internal/link.ts"

/**
 * Where a relay forwards to.
 *
 * @since 0.1.0
 * @category models
 */
export interface Target {
  readonly host: string
  readonly port: number
}

/**
 * What has gone through a relay.
 *
 * @since 0.1.0
 * @category models
 */
export interface Stats {
  /** Connections that are open now. */
  readonly open: number
  /** Connections accepted so far. */
  readonly accepted: number
  /** Bytes delivered to the target so far. */
  readonly bytesToTarget: number
  /** Bytes delivered to clients so far. */
  readonly bytesToClient: number
}

/**
 * A relay that listens at `host` and `port`.
 *
 * @since 0.1.0
 * @category models
 */
export interface TcpRelay {
  readonly host: string
  readonly port: number
  /** Sets the delay of a round trip, half of it each way; opening a connection takes one too. Bytes keep their order. */
  readonly setRoundTrip: (roundTrip: Duration.DurationInput) => Effect.Effect<void>
  /** Resets all open connections on both sides (RST), as a failing host or firewall would. New ones are accepted. */
  readonly cut: Effect.Effect<void>
  /** Keeps and accepts connections, but delivers nothing any more: neither bytes nor the end of a connection. */
  readonly blackhole: Effect.Effect<void>
  /** Ends `blackhole`: delivers what has piled up and goes on. */
  readonly restore: Effect.Effect<void>
  /** Stops listening, so that new connections are refused; open ones live on. */
  readonly refuse: Effect.Effect<void>
  /** Ends `refuse`: listens again, at the same port. */
  readonly accept: Effect.Effect<void, TcpRelayError>
  /** Ends all open connections in one direction (FIN toward the given side); the other direction goes on. */
  readonly halfClose: (toward: Side) => Effect.Effect<void>
  readonly stats: Effect.Effect<Stats>
}

export type {
  /**
   * One of the two ends that a relay stands between.
   *
   * @since 0.1.0
   * @category models
   */
  Side
}

/**
 * The options of a relay.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** Where to forward to. Looked at for each new connection. */
  readonly target: Target
  /** The delay of a round trip. Default: none, so that the relay alone can be measured. */
  readonly roundTrip?: Duration.DurationInput | undefined
}

/**
 * Makes a relay that runs as long as the scope is open; then its connections are reset.
 *
 * @example
 * ```ts
 * import { Effect } from "effect"
 * import { EmbeddedPostgres, TcpRelay } from "@checkpool/embedded"
 *
 * const program = Effect.gen(function* () {
 *   const server = yield* EmbeddedPostgres.make()
 *   const relay = yield* TcpRelay.make({ target: server, roundTrip: "10 millis" })
 *   // … connect to relay.port, and then let the network fail
 *   yield* relay.cut
 * })
 *
 * Effect.runPromise(Effect.scoped(program))
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const make: (options: Options) => Effect.Effect<TcpRelay, TcpRelayError, Scope.Scope> = Effect.fn(
  "TcpRelay.make"
)(function* (options: Options) {
  const half = (roundTrip: Duration.DurationInput) => Duration.toMillis(roundTrip) / 2
  const line = DelayLine.make(half(options.roundTrip ?? 0))
  const links = new Set<Link>()
  const counts = { accepted: 0, toTarget: 0, toClient: 0 }
  let server: NodeNet.Server | undefined

  const listen = (port: number) =>
    Effect.async<NodeNet.Server, TcpRelayError>((resume) => {
      const opening = NodeNet.createServer({ allowHalfOpen: true, noDelay: true, pauseOnConnect: true })
      opening.on("connection", (client) => {
        counts.accepted++
        links.add(
          makeLink(client, options.target, line, {
            delivered: (to, bytes) => {
              counts[to === "target" ? "toTarget" : "toClient"] += bytes
            },
            closed: (link) => {
              links.delete(link)
            }
          })
        )
      })
      opening.once("error", (cause) => resume(new TcpRelayError({ port, cause })))
      opening.listen({ host: loopback, port, exclusive: true, backlog: 1024 }, () => resume(Effect.succeed(opening)))
    }).pipe(
      Effect.tap((opened) =>
        Effect.sync(() => {
          server = opened
        })
      ),
      Effect.uninterruptible
    )

  const cut = Effect.sync(() => {
    for (const link of links) link.reset()
  })
  const refuse = Effect.sync(() => {
    server?.close()
    server = undefined
  })

  yield* Effect.addFinalizer(() => Effect.zipRight(refuse, cut).pipe(Effect.ensuring(Effect.sync(() => line.clear()))))
  const port = yield* Effect.flatMap(freePort, (port) => Effect.as(listen(port), port)).pipe(
    Effect.retry({ times: 10 })
  )

  return {
    host: loopback,
    port,
    setRoundTrip: (roundTrip) => Effect.sync(() => line.setDelay(half(roundTrip))),
    cut,
    blackhole: Effect.sync(() => line.freeze()),
    restore: Effect.sync(() => line.thaw()),
    refuse,
    accept: Effect.suspend(() => (server === undefined ? Effect.asVoid(listen(port)) : Effect.void)),
    halfClose: (toward) =>
      Effect.sync(() => {
        for (const link of links) link.end(toward)
      }),
    stats: Effect.sync(() => ({
      open: links.size,
      accepted: counts.accepted,
      bytesToTarget: counts.toTarget,
      bytesToClient: counts.toClient
    }))
  } satisfies TcpRelay
})

/**
 * The relay can't listen at its port.
 *
 * @since 0.1.0
 * @category errors
 */
export class TcpRelayError extends Schema.TaggedError<TcpRelayError>("@checkpool/embedded/TcpRelayError")(
  "TcpRelayError",
  { port: Schema.Number, cause: Schema.Defect }
) {
  override get message(): string {
    return `The relay can't listen at ${loopback}:${this.port}. Another program took the port while the relay refused connections, or loopback connections are forbidden here.`
  }
}
