/**
 * A small HTTP server beside the program: the live page at `/`, `/metrics` for Prometheus, `/health/live` and
 * `/health/ready` for probes.
 *
 * It listens on the loopback address unless told otherwise, has no log-in, and answers only requests for an address or a
 * name that it knows, so that no foreign page can read it through a browser. For a server of your own take the routes of
 * `Dashboard`, `PrometheusMetrics` and `HealthCheck`.
 *
 * @since 0.1.0
 */
import { createServer } from "node:http"
import { PgPool } from "@checkpool/pg/PgPool"
import * as HttpLayerRouter from "@effect/platform/HttpLayerRouter"
import * as HttpMiddleware from "@effect/platform/HttpMiddleware"
import type * as HttpServer from "@effect/platform/HttpServer"
import type { ServeError } from "@effect/platform/HttpServerError"
import * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import * as Dashboard from "./Dashboard.ts"
import * as HealthCheck from "./HealthCheck.ts"
import * as Hosts from "./internal/hosts.ts"
import type * as Pools from "./Pools.ts"
import * as PrometheusMetrics from "./PrometheusMetrics.ts"

/**
 * @category models
 * @since 0.1.0
 */
export interface Options extends HealthCheck.Options, Omit<Dashboard.Options, "path"> {
  /** Default 9464, which is where OpenTelemetry's exporter for Prometheus listens. 0: any that is free. */
  readonly port?: number | undefined
  /** The address to listen on. Default `127.0.0.1`: nobody but this machine. `0.0.0.0`: everybody who can reach it. */
  readonly host?: string | undefined
  /** Names beside addresses and `localhost` that it may be asked by, without port. Default: none. */
  readonly allowedHosts?: ReadonlyArray<string> | undefined
  /**
   * How long it goes on answering "not ready" when the program ends. Default 0: a program that nobody balances work to
   * ends at once. Behind a load balancer: a little longer than the period of its probe.
   */
  readonly shutdownDelay?: Duration.DurationInput | undefined
}

/**
 * The defaults of `Options`; the reasons stand there.
 *
 * @category constructors
 * @since 0.1.0
 */
export const defaults = { port: 9464, host: "127.0.0.1", shutdownDelay: 0 } as const

/**
 * @category models
 * @since 0.1.0
 */
export interface Service {
  /** Where it listens, `http://127.0.0.1:9464` say. */
  readonly url: string
  readonly health: HealthCheck.Service
}

/**
 * @category tags
 * @since 0.1.0
 */
export class ObservabilityServer extends Context.Tag("@checkpool/observability/ObservabilityServer")<
  ObservabilityServer,
  Service
>() {}

/**
 * Serves what there is to see of these pools until the scope closes: then it is not ready first, and after
 * `shutdownDelay` it ends.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (pools: Pools.Given, options: Options = {}): Effect.Effect<Service, ServeError, Scope.Scope> =>
  Effect.gen(function* () {
    const host = options.host ?? defaults.host
    const node = createServer()
    const server = yield* NodeHttpServer.make(() => node, { host, port: options.port ?? defaults.port })
    // Whoever keeps a connection open must not keep the program from ending.
    yield* Effect.addFinalizer(() => Effect.sync(() => node.closeAllConnections()))
    const health = yield* HealthCheck.make(pools, options)
    const answer = yield* HttpLayerRouter.toHttpEffect(
      Layer.mergeAll(
        Dashboard.routesOf(pools, { interval: options.interval }),
        PrometheusMetrics.route(),
        HealthCheck.routes
      ).pipe(Layer.provide(Layer.succeed(HealthCheck.HealthCheck, health)))
    )
    const known = [host, ...(options.allowedHosts ?? [])].map((name) => name.toLowerCase())
    yield* server
      .serve(
        Effect.flatMap(HttpServerRequest.HttpServerRequest, ({ headers }) =>
          Hosts.isAllowed(headers.host, known) ? answer : Effect.succeed(misdirected)
        )
      )
      // Nobody asked for traces of scrapes and probes.
      .pipe(HttpMiddleware.withTracerDisabledWhenEffect(() => true))
    yield* HealthCheck.stopFirst(health, options.shutdownDelay ?? defaults.shutdownDelay)
    return { url: urlOf(server.address), health }
  })

/**
 * Serves what there is to see of the `PgPool` at hand, and logs where.
 *
 * @category layers
 * @since 0.1.0
 * @example
 * ```ts
 * import { ObservabilityServer } from "@checkpool/observability"
 * import { PgPool } from "@checkpool/pg"
 * import { Layer, Redacted } from "effect"
 *
 * const PoolLive = PgPool.layer({ url: Redacted.make("postgres://localhost:5432/app") })
 *
 * export const MainLive = ObservabilityServer.layer().pipe(Layer.provideMerge(PoolLive))
 * ```
 */
export const layer = (options: Options = {}): Layer.Layer<ObservabilityServer, ServeError, PgPool> =>
  Layer.scoped(
    ObservabilityServer,
    Effect.flatMap(PgPool, (pool) => logged(make([pool], options)))
  )

/**
 * The same for several pools, pools that lend something else, or pools that come and go.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerPools = (pools: Pools.Given, options: Options = {}): Layer.Layer<ObservabilityServer, ServeError> =>
  Layer.scoped(ObservabilityServer, logged(make(pools, options)))

const logged = <E, R>(made: Effect.Effect<Service, E, R>) =>
  Effect.tap(made, ({ url }) => Effect.logInfo(`The pool is to be seen at ${url}`))

const misdirected = HttpServerResponse.text(
  "This name is not known here. Ask by address, or add the name to `allowedHosts`.\n",
  { status: 421 }
)

const urlOf = (address: HttpServer.Address): string => {
  if (address._tag === "UnixAddress") return address.path
  const { hostname, port } = address
  const name = hostname === "0.0.0.0" ? "localhost" : hostname.includes(":") ? `[${hostname}]` : hostname
  return `http://${name}:${port}`
}
