/**
 * The other side, played by the tests: it opens resources, well or badly, and counts what it sees.
 */
import { type Cause, Deferred, Effect, type Scope, TestClock } from "effect"
import * as Pool from "../src/Pool.ts"
import type { PoolError } from "../src/PoolError.ts"
import type { PoolEvent } from "../src/PoolEvent.ts"
import type * as PoolOptions from "../src/PoolOptions.ts"

export interface Resource {
  readonly id: number
  open: boolean
}

export class Refused extends Error {
  readonly _tag = "Refused"
}

export const refused = new Refused("connection refused")

export class Server {
  /** What opening, closing, checking and resetting do next; changed by the tests as they go. */
  opening: Effect.Effect<unknown, Refused> = Effect.void
  closing: Effect.Effect<unknown> = Effect.void
  attempts = 0
  readonly opened: Array<Resource> = []
  /** The most that were open, or being opened, at once. */
  most = 0
  private present = 0

  readonly acquire: Effect.Effect<Resource, Refused, Scope.Scope> = Effect.suspend(() => {
    this.attempts++
    this.most = Math.max(this.most, ++this.present)
    return this.opening
  }).pipe(
    Effect.onExit((exit) => Effect.sync(() => void (exit._tag === "Failure" && this.present--))),
    Effect.flatMap(() => {
      const resource = { id: this.opened.length + 1, open: true }
      this.opened.push(resource)
      const close = Effect.suspend(() => this.closing).pipe(
        Effect.ensuring(
          Effect.sync(() => {
            if (!resource.open) throw new Error("closed twice")
            resource.open = false
            this.present--
          })
        )
      )
      return Effect.as(
        Effect.addFinalizer(() => close),
        resource
      )
    })
  )

  get open(): ReadonlyArray<Resource> {
    return this.opened.filter((resource) => resource.open)
  }

  pool(options: Partial<PoolOptions.Options<Resource, Refused, Scope.Scope>> = {}) {
    return Effect.tap(
      Pool.make<Resource, Refused, Scope.Scope>({ acquire: this.acquire, start: "lazy", ...options }),
      // At the end of a test the clock goes on for those who still hold something, until the pool is drained.
      (pool) =>
        Effect.addFinalizer(() =>
          TestClock.adjust("1 second").pipe(
            Effect.repeat({ until: () => pool.unsafeStats().total === 0 }),
            Effect.forkDaemon
          )
        )
    )
  }
}

/** What a borrower does who only looks. */
export const id = (resource: Resource) => Effect.succeed(resource.id)

/** An observer that writes everything down. */
export const recorder = () => {
  const events: Array<PoolEvent> = []
  return { events, observer: { event: (event: PoolEvent) => void events.push(event) } }
}

export const tags = (events: Iterable<PoolEvent>) => Array.from(events, (event) => event._tag)

/** Until the fibers that are ready have done what they can. */
export const settle = Effect.yieldNow().pipe(Effect.repeatN(50))

/** Holds a resource until interrupted; returns when it has it. */
export const hold = <A, E>(pool: Pool.Pool<A>, holding: Effect.Effect<void, E> = Effect.never) =>
  Effect.gen(function* () {
    const held = yield* Deferred.make<void, PoolError>()
    const fiber = yield* pool
      .use(() => Effect.zipRight(Deferred.succeed(held, undefined), holding))
      .pipe(
        Effect.tapErrorCause((cause) => Deferred.failCause(held, cause as Cause.Cause<PoolError>)),
        Effect.fork
      )
    yield* Deferred.await(held)
    return fiber
  })
