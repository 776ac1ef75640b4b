/**
 * A scoped pool of any resource: first come first served, bounded, never over its maximum, no slot ever lost.
 *
 * It keeps resources that are costly to open (connections, say) and lends each to one borrower at a time. It
 * deliberately knows nothing of what it lends, opens nothing that nobody needs beyond its minimum, and neither retries
 * nor pipelines for its users.
 *
 * Resources live in slots; there are never more than `max`:
 *
 * ```
 *              wanted                  opened ¹                   taken
 *   free ────────────────► connecting ─────────► idle ──────────────────────► leased
 *    ▲                       │     │             │  ▲ ▲                        │  │
 *    │        failed         │     │      silent │  │ └────── given back ¹ ────┘  │ given back,
 *    ├───────────────────────┘     │    for long │  │ passed ¹                    │ to be reset
 *    │                             │             ▼  │                             ▼
 *    │                             │           checking          idle ◄─ done ¹ ─ resetting
 *    │                    too slow │             │                                │
 *    │                             ▼             │ failed, too slow               │ failed, too slow
 *    └──────────────────────── closing ◄─────────┴────────────────────────────────┘
 *      closed, or too slow         ▲
 *                                  └── idle, leased ²
 *
 *   ¹ and lent at once to the oldest waiter, if somebody waits
 *   ² not to be lent again: idle for too long, past its lifetime or its uses, of an expired generation, invalidated,
 *     refused by the hook or the recycler, above a lowered maximum, or the pool drains. Invalidation and a drain also
 *     end a check and a reset; a drain ends what is being opened, too
 * ```
 *
 * A caller waits for *a* resource, not for *its* resource, and for no longer than the acquire timeout:
 *
 * ```
 *   asks ──► is lent one ──► gives it back          one is idle, and nobody waits
 *     │           ▲
 *     ├──► waits ─┴──► AcquireTimeout, PoolUnavailable, PoolClosed
 *     └──► PoolSaturated, PoolUnavailable, NestedAcquire, PoolClosed: at once
 * ```
 *
 * Slots are counted where one would expect a semaphore: the same promise, and first come first served on top (the
 * package's README says more).
 *
 * @since 0.1.0
 */
import type * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Borrowing from "./internal/interpreter/borrowing.ts"
import { Interpreter } from "./internal/interpreter/interpreter.ts"
import * as Transition from "./internal/state/transitions.ts"
import * as Validation from "./internal/validation.ts"
import type { ConnectTimeout, InvalidPoolOptions, PoolError } from "./PoolError.ts"
import type { PoolEvent } from "./PoolEvent.ts"
import type { Options } from "./PoolOptions.ts"
import { defaults } from "./PoolOptions.ts"
import type { PoolStats } from "./PoolStats.ts"

/**
 * Marks a pool.
 *
 * @category type ids
 * @since 0.1.0
 */
export const TypeId: unique symbol = Symbol.for("@checkpool/pool/Pool")

/**
 * The type of `TypeId`.
 *
 * @category type ids
 * @since 0.1.0
 */
export type TypeId = typeof TypeId

/**
 * Makes an effect as interruptible as it is where the resource is asked for.
 *
 * @category models
 * @since 0.1.0
 */
export type Restore = Borrowing.Restore

/**
 * A pool of `A`.
 *
 * @category models
 * @since 0.1.0
 */
export interface Pool<A> {
  readonly [TypeId]: TypeId
  /** What its stats, events and errors are told by. */
  readonly name: string
  /**
   * Borrows a resource for the time of an effect: the fast way. The resource is given back however the effect ends.
   * Only the wait and the effect itself are interruptible.
   */
  readonly use: <B, E, R>(f: (resource: A) => Effect.Effect<B, E, R>) => Effect.Effect<B, E | PoolError, R>
  /**
   * As `use`, in the one uninterruptible region in which the resource is taken and given back: `f` makes interruptible what
   * may be, with `restore`. For an adapter that would begin with such a region, and runs one short operation each time.
   */
  readonly useMask: <B, E, R>(
    f: (resource: A, restore: Restore) => Effect.Effect<B, E, R>
  ) => Effect.Effect<B, E | PoolError, R>
  /** Borrows a resource until the scope closes. */
  readonly get: Effect.Effect<A, PoolError, Scope.Scope>
  /**
   * Closes this resource instead of lending it again: at once if it is idle, else when it is given back. Why, an error say,
   * is the `detail` of its event `Closed`.
   */
  readonly invalidate: (resource: A, why?: unknown) => Effect.Effect<void>
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
 * const open = Effect.succeed({ double: (n: number) => Effect.succeed(n * 2) })
 *
 * const program = Effect.gen(function* () {
 *   const pool = yield* Pool.make({
 *     acquire: Effect.acquireRelease(open, () => Effect.log("closed")),
 *     max: 4,
 *     name: "doublers"
 *   })
 *   return yield* pool.use((resource) => resource.double(21))
 * })
 *
 * console.log(await Effect.runPromise(Effect.scoped(program))) // 42
 * ```
 */
export const make = <A, E, R>(
  options: Options<A, E, R>
): Effect.Effect<Pool<A>, E | ConnectTimeout | InvalidPoolOptions, Scope.Scope | Exclude<R, Scope.Scope>> =>
  Effect.gen(function* () {
    const given = Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined))
    const bounds: Validation.Bounds = { ...defaults, name: `pool-${++made}`, ...given }
    const random = yield* Effect.random
    const config = yield* Validation.toConfig(bounds, {
      checked: options.check !== undefined,
      random: () => Effect.runSync(random.next)
    })
    const grace = yield* Validation.duration(config.name, "grace", bounds.grace)
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
      yield* Effect.runtime<Exclude<R, Scope.Scope>>(),
      yield* Effect.clock
    )
    yield* Effect.addFinalizer(() => interpreter.drain(grace))
    // A pool that could not start must not go on trying until the scope closes: its user may make another one there.
    yield* Effect.onError(interpreter.start(bounds.start), () => interpreter.drain(0))
    return fromInterpreter(interpreter, grace)
  })

/**
 * A layer that provides a pool under a tag of yours. Two tags are two pools.
 *
 * @category layers
 * @since 0.1.0
 * @example
 * ```ts
 * import { Pool } from "@checkpool/pool"
 * import { Context, Effect } from "effect"
 *
 * class Workers extends Context.Tag("app/Workers")<Workers, Pool.Pool<{ readonly id: string }>>() {}
 *
 * const WorkersLive = Pool.layer(Workers, { acquire: Effect.succeed({ id: "w1" }), max: 1 })
 *
 * const program = Effect.flatMap(Workers, (workers) => workers.use((worker) => Effect.succeed(worker.id)))
 *
 * console.log(await Effect.runPromise(Effect.provide(program, WorkersLive))) // w1
 * ```
 */
export const layer = <I, A, E, R>(
  tag: Context.Tag<I, Pool<A>>,
  options: Options<A, E, R>
): Layer.Layer<I, E | ConnectTimeout | InvalidPoolOptions, Exclude<R, Scope.Scope>> => Layer.scoped(tag, make(options))

const fromInterpreter = <A, E, R>(interpreter: Interpreter<A, E, R>, grace: number): Pool<A> => {
  const { news, state } = interpreter
  const { name } = state.config
  return {
    [TypeId]: TypeId,
    name,
    use: (f) => Borrowing.use(interpreter, f),
    useMask: (f) => Borrowing.useMask(interpreter, f),
    get: Borrowing.get(interpreter),
    invalidate: (resource, why) => interpreter.invalidate(resource, why),
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
            news.listeners.add(listener)
            if (state.phase === "closed") emit.end()
            return listener
          }),
          (listener) => Effect.sync(() => news.listeners.delete(listener))
        ),
      { bufferSize: 1024, strategy: "sliding" }
    ),
    expire: Effect.sync(() => interpreter.step(Transition.expire)),
    resize: (bounds) =>
      Effect.suspend(() => {
        const min = bounds.min ?? state.min
        const max = bounds.max ?? state.max
        return Effect.map(Validation.bounds(name, min, max), () =>
          interpreter.step((state, now) => Transition.resize(state, now, min, max))
        )
      }),
    drain: (given) => interpreter.drain(given === undefined ? grace : Duration.toMillis(given))
  }
}
