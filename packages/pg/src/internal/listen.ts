/**
 * LISTEN: all listeners of a pool share one of its connections, borrowed with the first and given back after the last.
 * When it breaks, their streams fail: a listener that silently hears nothing would be worse.
 */
import { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import * as RcRef from "effect/RcRef"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Pg from "pg"
import type { PgConnection } from "../PgConnection.ts"

/** @internal */
export const make = (
  acquire: Effect.Effect<PgConnection, SqlError, Scope.Scope>
): Effect.Effect<(channel: string) => Stream.Stream<string, SqlError>, never, Scope.Scope> =>
  Effect.gen(function* () {
    const shared = yield* RcRef.make({ acquire })
    const oneByOne = yield* Effect.makeSemaphore(1)
    const listeners = new Map<string, number>()

    const subscribe = (connection: PgConnection, channel: string) =>
      Effect.suspend(() => {
        listeners.set(channel, (listeners.get(channel) ?? 0) + 1)
        return connection.executeRaw(`LISTEN ${Pg.escapeIdentifier(channel)}`, [])
      }).pipe(oneByOne.withPermits(1))

    const unsubscribe = (connection: PgConnection, channel: string) =>
      Effect.suspend(() => {
        const others = (listeners.get(channel) ?? 1) - 1
        listeners.set(channel, others)
        return others > 0 || connection.broken !== undefined
          ? Effect.void
          : Effect.ignoreLogged(connection.executeRaw(`UNLISTEN ${Pg.escapeIdentifier(channel)}`, []))
      }).pipe(oneByOne.withPermits(1))

    return (channel) =>
      Stream.asyncPush<string, SqlError>((emit) =>
        Effect.gen(function* () {
          const connection = yield* RcRef.get(shared)
          const onNotification = (message: Pg.Notification) => {
            if (message.channel === channel) emit.single(message.payload ?? "")
          }
          yield* Effect.acquireRelease(
            Effect.sync(() => connection.client.on("notification", onNotification)),
            (client) => Effect.sync(() => client.off("notification", onNotification))
          )
          connection.onBroken((cause) =>
            emit.fail(new SqlError({ cause, message: `PgPool: the connection that listened to "${channel}" broke` }))
          )
          // Uninterruptible: an interrupted statement costs the connection, and others listen on it.
          yield* Effect.acquireRelease(subscribe(connection, channel), () => unsubscribe(connection, channel))
        })
      )
  })
