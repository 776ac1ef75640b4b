/**
 * A live page about pools and the checkpoints that go through them: who has the connections and who waits, how long
 * acquiring takes, what happened and why.
 *
 * It is for looking at one process now. It keeps a minute in the browser and nothing on disk, asks nobody else for
 * anything, and shows neither statements nor values nor messages of errors. What is to be kept, alarmed about, or compared
 * among processes belongs into metrics.
 *
 * @since 0.1.0
 */
import { PgPool } from "@checkpool/pg/PgPool"
import * as HttpLayerRouter from "@effect/platform/HttpLayerRouter"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import * as Feed from "./internal/feed.ts"
import * as Page from "./internal/page.ts"
import * as Pools from "./Pools.ts"

/**
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** How often the page is told the numbers. Default 500 ms: quick enough to watch, slow enough to read. */
  readonly interval?: Duration.DurationInput | undefined
  /** Where it lies. Default `/`. */
  readonly path?: `/${string}` | undefined
}

/**
 * The defaults of `Options`; the reasons stand there.
 *
 * @category constructors
 * @since 0.1.0
 */
export const defaults = { interval: "500 millis", path: "/" } as const

/**
 * Routes of the page about these pools, for a server of yours: the page, and below it its server-sent events. Put them
 * where only those come who may see them.
 *
 * @category layers
 * @since 0.1.0
 */
export const routesOf = (
  pools: Pools.Given,
  options: Options = {}
): Layer.Layer<never, never, HttpLayerRouter.HttpRouter> =>
  HttpLayerRouter.use((router) =>
    Effect.gen(function* () {
      const page = yield* Page.load
      const { messages } = yield* Feed.make(
        yield* Pools.from(pools),
        Duration.toMillis(options.interval ?? defaults.interval)
      )
      const ended = yield* Deferred.make<void>()
      // A stream without an end would keep the server from closing.
      yield* Effect.addFinalizer(() => Deferred.succeed(ended, undefined))
      const events = messages.pipe(
        Stream.map((message) => `data: ${JSON.stringify(message)}\n\n`),
        Stream.interruptWhenDeferred(ended),
        Stream.encodeText
      )
      const path = options.path ?? defaults.path
      yield* router.add("GET", path, HttpServerResponse.html(page.html).pipe(Effect.succeed, withHeaders(page.headers)))
      yield* router.add(
        "GET",
        `${path === "/" ? "" : path}/events` as `/${string}`,
        HttpServerResponse.stream(events, {
          contentType: "text/event-stream",
          headers: { "cache-control": "no-store", "x-accel-buffering": "no", "x-content-type-options": "nosniff" }
        })
      )
    })
  )

/**
 * Routes of the page about the `PgPool` at hand.
 *
 * @category layers
 * @since 0.1.0
 */
export const routes = (options: Options = {}): Layer.Layer<never, never, HttpLayerRouter.HttpRouter | PgPool> =>
  Layer.unwrapEffect(Effect.map(PgPool, (pool) => routesOf([pool], options)))

const withHeaders = (headers: Record<string, string>) =>
  Effect.map((response: HttpServerResponse.HttpServerResponse) => HttpServerResponse.setHeaders(response, headers))
