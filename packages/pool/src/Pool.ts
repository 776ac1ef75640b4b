/**
 * A scoped pool of any resource: first come first served, bounded, never over its maximum, no slot ever lost.
 *
 * It keeps resources that are costly to open (connections, say) and lends each to one borrower at a time. It
 * deliberately knows nothing of what it lends, opens nothing that nobody needs beyond its minimum, and neither retries
 * nor pipelines for its users.
 *
 * ```
 *            demand              opened               taken
 *   (free) ─────────► connecting ───────► idle ─────────────────────► leased
 *      ▲                  │               ▲ │ silent for long            │ given back
 *      │                  │ too slow      │ └────────► checking ─────────┤ (passed: to the oldest waiter)
 *      │ failed           ▼               │               │ failed       ▼
 *      ├─────────────  closing ◄──────────┼───────────────┘        recycler: keep, reset, close
 *      │  closed          ▲               └────────── resetting ◄────────┤
 *      └──────────────────┴───────────────────────────────┴──────────────┘
 * ```
 *
 * @since 0.1.0
 */
import type * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { Interpreter } from "./internal/interpreter.ts"
import type { Bounds } from "./internal/options.ts"
import * as Options_ from "./internal/options.ts"
import type { ConnectTimeout, InvalidPoolOptions, PoolError } from "./PoolError.ts"
import type { PoolEvent } from "./PoolEvent.ts"
import type { PoolStats } from "./PoolStats.ts"
import type { Recycler } from "./Recycler.ts"

/**
 * @category type ids
 * @since 0.1.0
 */
export const TypeId: unique symbol = Symbol.for("@checkpool/pool/Pool")

/**
 * @category type ids
 * @since 0.1.0
 */
export type TypeId = typeof TypeId

/**
 * A pool of `A`.
 *
 * @category models
 * @since 0.1.0
 */
export interface Pool<A> {
  readonly [TypeId]: TypeId
  readonly name: string
  /**
   * Borrows a resource for the time of an effect: the fast way. The resource is given back however the effect ends.
   * Only the wait and the effect itself are interruptible.
   */
  readonly use: <B, E, R>(f: (resource: A) => Effect.Effect<B, E, R>) => Effect.Effect<B, E | PoolError, R>
  /** Borrows a resource until the scope closes. */
  readonly get: Effect.Effect<A, PoolError, Scope.Scope>
  /** Closes this resource instead of lending it again: at once if it is idle, else when it is given back. */
  readonly invalidate: (resource: A) => Effect.Effect<void>
  /** The pool's numbers now. */
  readonly stats: Effect.Effect<PoolStats>
  /** The same for readers outside of Effect, such as a metric that is read at scrape time. */
  readonly unsafeStats: () => PoolStats
  /** What happens from now on, up to `Drained`. A reader that is 1,024 events behind misses the oldest. */
  readonly events: Stream.Stream<PoolEvent>
  /** Ends the present generation: nothing that is open now is lent again (after a failover, a new password). */
  readonly expire: Effect.Effect<void>
  /** Changes the bounds. Above a lowered maximum, idle resources are closed now and lent ones when they come back. */
  readonly resize: (bounds: {
    readonly min?: number | undefined
    readonly max?: number | undefined
  }) => Effect.Effect<void, InvalidPoolOptions>
  /**
   * Closes the pool: waiters fail with `PoolClosed` at once, leases have the grace (default: option `grace`) to end,
   * then their resources are closed under them. Returns when nothing is left.
   */
  readonly drain: (grace?: Duration.DurationInput) => Effect.Effect<void>
}

/**
 * Synchronous callbacks on the way of each lease. They run inside the pool: they have to be quick. One that throws is
 * logged and changes nothing.
 *
 * @category models
 * @since 0.1.0
 */
export interface Observer {
  /** A lease begins, after this wait in ms. */
  readonly acquired?: ((waitMillis: number) => void) | undefined
  /** A lease ended, after this use in ms. */
  readonly released?: ((useMillis: number) => void) | undefined
  readonly event?: ((event: PoolEvent) => void) | undefined
}

/**
 * How a pool is made. Defaults are in `defaults`.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options<A, E, R> {
  // Essentials

  /** Opens one resource; its scope closes it. Interruptible parts of it are interrupted at the connect timeout. */
  readonly acquire: Effect.Effect<A, E, R>
  /** How many resources may exist at once, counting those being opened and closed. Default 10. */
  readonly max?: number | undefined
  /** How many are kept open when nobody needs them. Default 0: what is not used costs nothing. */
  readonly min?: number | undefined
  /** How long a caller waits at most, all in all. Default 10 s: longer than a hiccup, shorter than a user's patience. */
  readonly acquireTimeout?: Duration.DurationInput | undefined

  // Frequent

  /** The name that stats, events and errors carry. Default `pool-1`, `pool-2`, …: unique in the process. */
  readonly name?: string | undefined
  /** Callers admitted beyond `max`; the next one gets `PoolSaturated` at once. Default 10,000 (about 1 KB each). */
  readonly maxWaiting?: number | undefined
  /** Resources beyond `min` that were idle for so long are closed. Default 5 minutes. */
  readonly idleTimeout?: Duration.DurationInput | undefined
  /** A resource of this age is closed when it is next idle. Default 1 hour: picks up changes of address and server. */
  readonly lifetime?: Duration.DurationInput | undefined
  /** How many times a resource is lent before it is closed. Default: no limit. */
  readonly maxUses?: number | undefined
  /** Proves that an idle resource still works, when it was silent for `checkAfter`. Default: not checked. */
  readonly check?: ((resource: A) => Effect.Effect<unknown, unknown>) | undefined
  /** Default 1 s: under load nothing is checked, and whoever comes after a pause pays one round trip. */
  readonly checkAfter?: Duration.DurationInput | undefined
  /**
   * Runs before a resource is lent, in the borrower's fiber, interruptible and as part of its lease. If it does not
   * succeed, the resource is closed and the borrower gets `HookError`. Default: nothing.
   */
  readonly onAcquire?: ((resource: A) => Effect.Effect<unknown, unknown>) | undefined
  /** What becomes of a resource that is given back. Default: it is kept. */
  readonly recycler?: Recycler<A> | undefined
  /**
   * What has to be open before `make` returns: `"one"` (default: a wrong address is found out at the start), `"min"`, or
   * nothing (`"lazy"`: the minimum is kept from the first need on).
   */
  readonly start?: "one" | "min" | "lazy" | undefined
  /** Callbacks for metrics. Default: none. */
  readonly observer?: Observer | undefined

  // Infrequent

  /**
   * What a failure to open means: `"failed"` (default: tried again with backoff), `"fatal"` (time alone won't mend it:
   * with nothing open, callers fail at once), `"capacity"` (no more at present: carry on with what is held).
   */
  readonly classify?: ((error: E) => "failed" | "fatal" | "capacity") | undefined
  /** How long opening one may take. Default 5 s. */
  readonly connectTimeout?: Duration.DurationInput | undefined
  /** How many are opened at the same time. Default 3: a restarted server is not stormed. */
  readonly maxConnecting?: number | undefined
  /** How long a check may take before the resource counts as dead. Default 1 s. */
  readonly checkTimeout?: Duration.DurationInput | undefined
  /** How long a recycler's reset may take before the resource is closed. Default 5 s. */
  readonly resetTimeout?: Duration.DurationInput | undefined
  /** How long closing may take before the slot is given back all the same. Default 5 s. */
  readonly closeTimeout?: Duration.DurationInput | undefined
  /** The share of the lifetime that chance takes off, 0 to 1. Default 0.1: resources opened together don't end together. */
  readonly lifetimeJitter?: number | undefined
  /** A lease of this length is reported as `LeakSuspected`. Default: never. */
  readonly leakAfter?: Duration.DurationInput | undefined
  /** With nothing open, callers fail at once after opening failed for so long. Default 3 s: a restart is waited out. */
  readonly unavailableAfter?: Duration.DurationInput | undefined
  /** The first pause after a failure to open, doubled with each further one, with jitter. Default 250 ms. */
  readonly retryBase?: Duration.DurationInput | undefined
  /** The longest such pause. Default 5 s. */
  readonly retryCap?: Duration.DurationInput | undefined
  /** How long leases may go on when the pool's scope closes. Default 5 s. */
  readonly grace?: Duration.DurationInput | undefined
}

/**
 * The defaults of `Options`; the reasons stand there.
 *
 * @category constructors
 * @since 0.1.0
 */
export const defaults = {
  min: 0,
  max: 10,
  acquireTimeout: "10 seconds",
  maxWaiting: 10_000,
  idleTimeout: "5 minutes",
  lifetime: "1 hour",
  maxUses: Number.POSITIVE_INFINITY,
  checkAfter: "1 second",
  start: "one",
  connectTimeout: "5 seconds",
  maxConnecting: 3,
  checkTimeout: "1 second",
  resetTimeout: "5 seconds",
  closeTimeout: "5 seconds",
  lifetimeJitter: 0.1,
  leakAfter: Duration.infinity,
  unavailableAfter: "3 seconds",
  retryBase: "250 millis",
  retryCap: "5 seconds",
  grace: "5 seconds"
} as const satisfies Omit<Bounds, "name"> & { readonly start: string; readonly grace: Duration.DurationInput }

let made = 0

/**
 * Makes a pool that drains when the scope closes. Fails if the options can't work, or (unless `start: "lazy"`) if
 * opening fails.
 *
 * @category constructors
 * @since 0.1.0
 * @example
 * ```ts
 * import { Pool } from "@checkpool/pool"
 * import { Effect } from "effect"
 *
 * const program = Effect.gen(function* () {
 *   const pool = yield* Pool.make({
 *     acquire: Effect.acquireRelease(Effect.succeed({ ask: (n: number) => n * 2 }), () => Effect.void),
 *     max: 4
 *   })
 *   return yield* pool.use((resource) => Effect.succeed(resource.ask(21)))
 * })
 *
 * Effect.runPromise(Effect.scoped(program)).then((answer) => console.log(answer)) // 42
 * ```
 */
export const make = <A, E, R>(
  options: Options<A, E, R>
): Effect.Effect<Pool<A>, E | ConnectTimeout | InvalidPoolOptions, Scope.Scope | Exclude<R, Scope.Scope>> =>
  Effect.gen(function* () {
    const given = Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined))
    const bounds = { ...defaults, name: `pool-${++made}`, ...(given as Partial<typeof options>) } as Bounds & {
      readonly start: "one" | "min" | "lazy"
      readonly grace: Duration.DurationInput
    }
    const random = yield* Effect.random
    const config = yield* Options_.toConfig(bounds, {
      warm: bounds.start !== "lazy",
      checked: options.check !== undefined,
      random: () => Effect.runSync(random.next)
    })
    const runtime = yield* Effect.runtime<Exclude<R, Scope.Scope>>()
    const clock = yield* Effect.clock
    const interpreter = new Interpreter<A, E, Exclude<R, Scope.Scope>>(
      {
        config,
        acquire: options.acquire as Effect.Effect<A, E, Exclude<R, Scope.Scope> | Scope.Scope>,
        check: options.check,
        onAcquire: options.onAcquire,
        recycler: options.recycler,
        classify: options.classify,
        observer: options.observer
      },
      runtime,
      clock
    )
    const grace = Duration.toMillis(bounds.grace)
    yield* Effect.addFinalizer(() => interpreter.drain(grace))
    // A pool that could not start must not go on trying until the scope closes: its user may make another one there.
    yield* Effect.onError(interpreter.start(bounds.start), () => interpreter.drain(0))
    return fromInterpreter(interpreter, grace)
  })

/**
 * A layer that provides a pool under a tag of yours.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = <I, A, E, R>(
  tag: Context.Tag<I, Pool<A>>,
  options: Options<A, E, R>
): Layer.Layer<I, E | ConnectTimeout | InvalidPoolOptions, Exclude<R, Scope.Scope>> => Layer.scoped(tag, make(options))

const fromInterpreter = <A, E, R>(interpreter: Interpreter<A, E, R>, grace: number): Pool<A> => {
  const { state } = interpreter
  const { name } = state.config
  return {
    [TypeId]: TypeId,
    name,
    use: (f) => interpreter.use(f),
    get: interpreter.get,
    invalidate: (resource) => interpreter.invalidate(resource),
    stats: Effect.sync(() => interpreter.stats()),
    unsafeStats: () => interpreter.stats(),
    events: Stream.asyncPush<PoolEvent>(
      (emit) =>
        Effect.acquireRelease(
          Effect.sync(() => {
            const listener = (event: PoolEvent) => {
              emit.single(event)
              if (event._tag === "Drained") emit.end()
            }
            interpreter.listeners.add(listener)
            if (state.phase === "closed") emit.end()
            return listener
          }),
          (listener) => Effect.sync(() => interpreter.listeners.delete(listener))
        ),
      { bufferSize: 1024, strategy: "sliding" }
    ),
    expire: Effect.sync(() => interpreter.step(() => state.expire(interpreter.now()))),
    resize: (bounds) =>
      Effect.suspend(() => {
        const min = bounds.min ?? state.min
        const max = bounds.max ?? state.max
        return Effect.map(Options_.check(name, min, max), () =>
          interpreter.step(() => state.resize(min, max, interpreter.now()))
        )
      }),
    drain: (given) => interpreter.drain(given === undefined ? grace : Duration.toMillis(given))
  }
}
