/**
 * A lock of a thread, for programs that must be the only one that works on it: a run of a graph, an import.
 *
 * It is a lease in a table, not a lock of a session: no connection is held, it ends by itself when its holder dies, and a
 * holder that has lost it without knowing can't write any more. It is no queue (those who wait ask again and again), and it
 * binds those who take it: a write of somebody who has not asked for the lock is not held up.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type { CheckpointerError, InvalidIdentifier, LeaseLost, ThreadLocked } from "./CheckpointError.ts"

/**
 * What `withThreadLock` takes.
 *
 * @since 0.1.0
 * @category options
 */
export interface Options {
  /**
   * How long the lock is kept for a holder that is not heard of. Default 30 s: what others wait after a crash, and how
   * long a holder may stand still or be cut off from the database. It is renewed each third of that.
   */
  readonly lease?: Duration.DurationInput | undefined
  /**
   * How long another holder is waited for; `Infinity`: as long as it takes. Who waits asks again after 50 ms, then more and
   * more seldom, up to once in a second. Default 0: a run that is at work mostly takes minutes, and who is told so at once can say so.
   */
  readonly wait?: Duration.DurationInput | undefined
  /** What others are told about who holds the lock. Default: host name and process id. */
  readonly holder?: string | undefined
}

/**
 * The options that hold where none are given.
 *
 * @since 0.1.0
 * @category options
 */
export const defaults: { readonly lease: Duration.DurationInput; readonly wait: Duration.DurationInput } = {
  lease: "30 seconds",
  wait: 0
}

/**
 * The lease that an effect runs under, the innermost one: `yield* ThreadLock.Lease` within `withThreadLock`.
 *
 * @since 0.1.0
 * @category context
 */
export class Lease extends Context.Tag("@checkpool/checkpoint/ThreadLock/Lease")<
  Lease,
  {
    readonly threadId: string
    /**
     * Greater than that of each earlier lease on the thread, whatever happened to these. Hand it on with what you do to
     * other systems, and let these refuse what comes with a smaller one than they have seen.
     */
    readonly token: number
  }
>() {}

/**
 * Why something could not be done under a lock.
 *
 * @since 0.1.0
 * @category errors
 */
export type LockError = ThreadLocked | LeaseLost | InvalidIdentifier | CheckpointerError

/**
 * What locks threads. Laws that hold for every layer, beside those of `Checkpointer.Service`:
 *
 * 1. Of all that ask for the lock of a thread one has it at a time. Threads don't lock each other, and a thread that isn't
 *    there can be locked, too.
 * 2. The lock is given back when the effect succeeds, fails or is interrupted. That takes no longer than five seconds; if
 *    the database can't be reached, the lease ends by itself.
 * 3. A lease is renewed in the background, by the database's clock. If it can't be for as long as it lasts, by the
 *    monotonic clock of this process, or if somebody else has it, the effect is interrupted, its finalizers run, and
 *    `withThreadLock` fails with `LeaseLost`.
 * 4. A lease that is over can be taken over. From that moment on nothing is stored any more of what its last holder writes
 *    to that thread: it is refused with `LeaseLost`, whenever it was sent. What is on its way at that moment, in
 *    a transaction, too, is waited for: the lock is not given to others before it is committed or rolled back.
 * 5. That holds for all that writes: `put`, `putWrites`, `commit` with and without `expectHead`, `deleteThread`, `prune`,
 *    `forkAt`, `deleteForRuns`, `copyThread` from and to the thread, and `retain`. Not for `setTtl`, which touches no
 *    checkpoint. It holds in the effect and the fibers that it forks, for operations of the same checkpointer.
 * 6. A lease that is over and that nobody has taken over still lets its holder write: nobody else has begun, and all
 *    that was done would be lost because the database was slow for once.
 * 7. After the end of `withThreadLock` nothing can be written under its lease, by fibers that have outlived it.
 * 8. Within `withThreadLock`, a further one of the same thread and checkpointer runs at once, under the same lease: a
 *    function that locks may call another one. So it keeps fibers of the effect not apart from each other.
 *
 * In a database transaction the lock can't be taken (`CheckpointerError`): that has begun before, so it might not see what
 * the last holder has done, and it would end after the lock. Take the lock outside of it.
 *
 * @since 0.1.0
 * @category models
 */
export interface Service {
  /**
   * Runs an effect while nobody else who asks for it has the lock of the thread.
   *
   * @example
   * ```ts
   * import { Checkpoint, Checkpointer, ThreadLock } from "@checkpool/checkpoint"
   * import { Effect } from "effect"
   *
   * const program = Effect.gen(function* () {
   *   const checkpointer = yield* Checkpointer.Checkpointer
   *   const run = Effect.gen(function* () {
   *     const { token } = yield* ThreadLock.Lease
   *     const checkpoint = yield* Checkpoint.make()
   *     yield* checkpointer.put({ threadId: "thread-1", checkpoint, metadata: { token }, newVersions: {} })
   *     return token
   *   })
   *   const first = yield* checkpointer.withThreadLock("thread-1", run)
   *   const second = yield* checkpointer.withThreadLock("thread-1", run, { lease: "1 minute", wait: "10 seconds" })
   *   return second > first
   * })
   *
   * Effect.runPromise(Effect.provide(program, Checkpointer.layerMemory)).then((grows) => {
   *   if (!grows) throw new Error("The token has to grow")
   * })
   * ```
   */
  readonly withThreadLock: <A, E, R>(
    threadId: string,
    effect: Effect.Effect<A, E, R>,
    options?: Options
  ) => Effect.Effect<A, E | LockError, Exclude<R, Lease>>
}
