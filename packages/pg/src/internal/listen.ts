/**
 * LISTEN: all listeners of a pool share one of its connections, borrowed with the first and given back after the last.
 *
 * When it breaks, another one is borrowed, every channel is subscribed again, and each listener is told that it may have
 * missed something: after that, so that whoever then looks for what it missed misses nothing more.
 */
import type { Pool } from "@checkpool/pool/Pool"
import type { PoolError } from "@checkpool/pool/PoolError"
import { SqlError } from "@effect/sql/SqlError"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as RcRef from "effect/RcRef"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Pg from "pg"
import type { PgConnection } from "../PgConnection.ts"
import { PgNotification } from "../PgNotification.ts"

/** @internal */
export type Listen = (channel: string) => Stream.Stream<PgNotification, SqlError>

/** @internal */
export const make = (pool: Pool<PgConnection>): Effect.Effect<Listen, never, Scope.Scope> =>
  Effect.map(
    RcRef.make({ acquire: subscribe(pool) }),
    (shared) => (channel) =>
      Stream.asyncPush<PgNotification, SqlError>((emit) =>
        Effect.gen(function* () {
          const subscription = yield* RcRef.get(shared)
          const hear = (notification: PgNotification) => void emit.single(notification)
          // Uninterruptible: it is one round trip, and others listen on that connection too.
          yield* Effect.acquireRelease(subscription.add(channel, hear), () => subscription.remove(channel, hear))
        })
      )
  )

type Hear = (notification: PgNotification) => void

interface Subscription {
  readonly add: (channel: string, hear: Hear) => Effect.Effect<void, SqlError>
  readonly remove: (channel: string, hear: Hear) => Effect.Effect<void>
}

/** The first pauses are short, so that a restart costs little; no pause is longer than 5 s. */
const retries = Schedule.union(Schedule.exponential("100 millis"), Schedule.spaced("5 seconds"))

const subscribe = (pool: Pool<PgConnection>): Effect.Effect<Subscription, SqlError, Scope.Scope> =>
  Effect.gen(function* () {
    const channels = new Map<string, Set<Hear>>()
    const lock = yield* Effect.makeSemaphore(1)
    let current: PgConnection | undefined

    const dispatch = (message: Pg.Notification) => {
      const { channel, payload = "", processId } = message
      for (const hear of channels.get(channel) ?? []) hear(PgNotification.Notified({ channel, payload, processId }))
    }

    const connect = Effect.gen(function* () {
      const connection = yield* Effect.mapError(pool.get, asSqlError)
      yield* Effect.acquireRelease(
        Effect.sync(() => connection.client.on("notification", dispatch)),
        (client) =>
          Effect.sync(() => {
            client.off("notification", dispatch)
            current = undefined
          })
      )
      yield* lock.withPermits(1)(
        Effect.gen(function* () {
          for (const channel of channels.keys()) yield* connection.executeCommand(listenTo(channel))
          current = connection
        })
      )
      return connection
    })

    const first = yield* Deferred.make<void, SqlError>()
    let broke: { readonly cause: unknown } | undefined
    const listening = Effect.scoped(
      Effect.gen(function* () {
        const connection = yield* connect
        yield* Deferred.succeed(first, undefined)
        if (broke !== undefined) {
          for (const [channel, hears] of channels) {
            for (const hear of hears) hear(PgNotification.MayHaveMissed({ channel, cause: broke.cause }))
          }
        }
        broke = { cause: yield* whenBroken(connection) }
      })
    )
    yield* Effect.forkScoped(
      Effect.forever(
        // Only the first listener is told of a failure: for the others it is tried until it works.
        Effect.retry(listening, {
          schedule: retries,
          while: (error) => Effect.negate(Deferred.fail(first, error))
        })
      ).pipe(Effect.ignore)
    )
    yield* Deferred.await(first)

    return {
      add: (channel, hear) =>
        lock.withPermits(1)(
          Effect.suspend(() => {
            const hears = channels.get(channel)
            if (hears !== undefined) {
              hears.add(hear)
              return Effect.void
            }
            channels.set(channel, new Set([hear]))
            // Without a connection right now, the next one will listen to it.
            if (current === undefined) return Effect.void
            return Effect.catchAll(current.executeCommand(listenTo(channel)), (error) => {
              if (current === undefined || current.broken !== undefined) return Effect.void
              channels.delete(channel)
              return Effect.fail(error)
            })
          })
        ),
      remove: (channel, hear) =>
        lock.withPermits(1)(
          Effect.suspend(() => {
            const hears = channels.get(channel)
            hears?.delete(hear)
            if (hears === undefined || hears.size > 0) return Effect.void
            channels.delete(channel)
            return current === undefined || current.broken !== undefined
              ? Effect.void
              : Effect.ignoreLogged(current.executeCommand(`UN${listenTo(channel)}`))
          })
        )
    }
  })

const listenTo = (channel: string) => `LISTEN ${Pg.escapeIdentifier(channel)}`

const whenBroken = (connection: PgConnection): Effect.Effect<unknown> =>
  Effect.async<unknown>((resume) => connection.onBroken((cause) => resume(Effect.succeed(cause))))

const asSqlError = (error: PoolError): SqlError => new SqlError({ cause: error, message: error.message })
