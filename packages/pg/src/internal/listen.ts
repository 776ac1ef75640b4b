/**
 * LISTEN: all listeners of a pool share one of its connections, borrowed with the first and given back after the last.
 *
 * One fiber, the keeper, talks to that connection; listeners only say what they want to hear, so that they can come and
 * go at any time. When the connection breaks, another one is borrowed, every channel is subscribed again, and each
 * listener is told that it may have missed something: after that, so that whoever then looks misses nothing more.
 *
 * A pool of one connection can't spare it. There it goes on being lent, and hears whenever it runs no transaction.
 */
import type { Pool } from "@checkpool/pool/Pool"
import { PoolClosed, type PoolError } from "@checkpool/pool/PoolError"
import { SqlError } from "@effect/sql/SqlError"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as FiberId from "effect/FiberId"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { PgConnection } from "../PgConnection.ts"
import { PgNotification } from "../PgNotification.ts"

/** @internal */
export type Listen = (channel: string) => Stream.Stream<PgNotification, SqlError>

/** @internal */
export const make = (pool: Pool<PgConnection>): Effect.Effect<Listen, never, Scope.Scope> =>
  Effect.map(Effect.scope, (scope) => {
    const keeper = new Keeper(pool)
    const listen = (channel: string, listener: Listener) =>
      Effect.suspend(() =>
        keeper.add(channel, listener) ? Effect.forkIn(Effect.interruptible(keeper.run), scope) : Effect.void
      )
    return (channel) =>
      Stream.asyncPush<PgNotification, SqlError>((emit) => {
        const listener: Listener = {
          subscribed: Deferred.unsafeMake(FiberId.none),
          hear: (notification) => void emit.single(notification),
          fail: (error) => void emit.fail(error),
          established: false,
          missed: undefined
        }
        return Effect.zipRight(
          Effect.acquireRelease(listen(channel, listener), () => Effect.sync(() => keeper.remove(channel, listener))),
          Deferred.await(listener.subscribed)
        )
      })
  })

interface Listener {
  /** Done when its channel is subscribed for the first time. */
  readonly subscribed: Deferred.Deferred<void, SqlError>
  readonly hear: (notification: PgNotification) => void
  readonly fail: (error: SqlError) => void
  established: boolean
  /** Why it may have missed something that it has not been told of. */
  missed: { readonly cause: unknown } | undefined
}

/** The first pauses are short, so that a restart costs little. */
const pauseAfter = (failures: number) => Math.min(100 * 2 ** failures, 5000)

class Keeper {
  private readonly pool: Pool<PgConnection>
  private readonly wanted = new Map<string, Set<Listener>>()
  /** Open when the keeper has something to do. */
  private readonly work = Effect.unsafeMakeLatch(false)
  private running = false
  private failures = 0
  /** The connection that listens, and what it has been told to listen to. */
  private current: PgConnection | undefined
  private readonly subscribed = new Set<string>()
  private off = () => {}

  constructor(pool: Pool<PgConnection>) {
    this.pool = pool
  }

  /** Says whether the keeper has to be started. */
  add(channel: string, listener: Listener): boolean {
    const listeners = this.wanted.get(channel)
    if (listeners === undefined) this.wanted.set(channel, new Set([listener]))
    else listeners.add(listener)
    this.work.unsafeOpen()
    const start = !this.running
    this.running = true
    return start
  }

  remove(channel: string, listener: Listener): void {
    const listeners = this.wanted.get(channel)
    listeners?.delete(listener)
    if (listeners?.size === 0) this.wanted.delete(channel)
    this.work.unsafeOpen()
  }

  /** Ends when nobody listens any more. */
  readonly run: Effect.Effect<void> = Effect.suspend(() => this.listening()).pipe(
    Effect.catchAll((error) => this.failed(error)),
    Effect.repeat({ while: () => this.running }),
    // The pool closes.
    Effect.onError(() => Effect.sync(() => this.end(new PoolClosed({ pool: this.pool.name, since: 0 }))))
  )

  /** On one connection, until it breaks or nobody listens any more. */
  private listening(): Effect.Effect<void, PoolError> {
    const { pool } = this
    return pool.unsafeStats().max > 1
      ? Effect.scoped(Effect.flatMap(pool.get, (connection) => this.serve(() => this.subscribe(connection))))
      : this.serve(() => pool.use((connection) => this.subscribe(connection)))
  }

  private serve(subscribe: () => Effect.Effect<void, PoolError>): Effect.Effect<void, PoolError> {
    return Effect.suspend(() => {
      this.work.unsafeClose()
      return Effect.flatMap(subscribe(), () => {
        if (this.current?.broken !== undefined) return Effect.succeed(false)
        if (this.wanted.size > 0) return Effect.as(this.work.await, true)
        // Synchronously with the look: whoever comes from now on starts the keeper anew.
        this.running = false
        this.detach()
        return Effect.succeed(false)
      })
    }).pipe(Effect.repeat({ while: (again) => again }), Effect.asVoid)
  }

  /** Makes the connection listen to what is wanted, and to nothing else. */
  private subscribe(connection: PgConnection): Effect.Effect<void> {
    return Effect.gen(this, function* () {
      if (connection.broken !== undefined) return
      this.attach(connection)
      for (const channel of [...this.wanted.keys()]) {
        if (!this.subscribed.has(channel)) yield* this.listen(connection, channel)
        if (this.subscribed.has(channel)) this.welcome(channel)
      }
      for (const channel of [...this.subscribed]) {
        if (this.wanted.has(channel)) continue
        this.subscribed.delete(channel)
        // A failure leaves the session dirty or broken: the pool sees to it.
        yield* Effect.ignoreLogged(connection.unlisten(channel))
      }
    })
  }

  private listen(connection: PgConnection, channel: string): Effect.Effect<void> {
    return Effect.match(connection.listen(channel), {
      onSuccess: () => void this.subscribed.add(channel),
      onFailure: (error) => {
        // If the connection is to blame, another one will do.
        if (connection.broken === undefined) this.refuse(channel, error, () => true)
      }
    })
  }

  private welcome(channel: string): void {
    this.failures = 0
    for (const listener of this.wanted.get(channel) ?? []) {
      listener.established = true
      Deferred.unsafeDone(listener.subscribed, Effect.void)
      if (listener.missed === undefined) continue
      listener.hear(PgNotification.MayHaveMissed({ channel, cause: listener.missed.cause }))
      listener.missed = undefined
    }
  }

  private attach(connection: PgConnection): void {
    if (this.current === connection) return
    this.detach()
    this.current = connection
    connection.onBroken(() => this.work.unsafeOpen())
    this.off = connection.onNotification(({ channel, payload = "", processId }) => {
      for (const listener of this.wanted.get(channel) ?? []) {
        listener.hear(PgNotification.Notified({ channel, payload, processId }))
      }
    })
  }

  private detach(): void {
    this.off()
    for (const channel of this.subscribed) {
      for (const listener of this.wanted.get(channel) ?? []) listener.missed = { cause: this.current?.broken }
    }
    this.subscribed.clear()
    this.current = undefined
  }

  /** Whoever has just come is told of it; for the others it is tried until it works. */
  private failed(error: PoolError): Effect.Effect<void> {
    return Effect.suspend(() => {
      if (error._tag === "PoolClosed") return Effect.sync(() => this.end(error))
      for (const channel of this.wanted.keys()) this.refuse(channel, asSqlError(error), (one) => !one.established)
      this.running = this.wanted.size > 0
      if (!this.running) return Effect.void
      this.work.unsafeClose()
      return Effect.raceFirst(Effect.sleep(pauseAfter(this.failures++)), this.work.await)
    })
  }

  private end(error: PoolError): void {
    this.running = false
    this.detach()
    for (const channel of this.wanted.keys()) this.refuse(channel, asSqlError(error), () => true)
  }

  private refuse(channel: string, error: SqlError, whom: (listener: Listener) => boolean): void {
    for (const listener of this.wanted.get(channel) ?? []) {
      if (!whom(listener)) continue
      Deferred.unsafeDone(listener.subscribed, Effect.fail(error))
      listener.fail(error)
      this.remove(channel, listener)
    }
  }
}

const asSqlError = (error: PoolError): SqlError => new SqlError({ cause: error, message: error.message })
