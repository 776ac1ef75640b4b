/**
 * Runs an effect under a lease: takes it, keeps it alive meanwhile, gives it back.
 *
 * @internal
 */
import { hostname } from "node:os"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import * as Random from "effect/Random"
import * as Schedule from "effect/Schedule"
import * as Tracer from "effect/Tracer"
import { type CheckpointerError, type LeaseLost, ThreadLocked } from "../../CheckpointError.ts"
import * as ThreadLock from "../../ThreadLock.ts"
import * as Trouble from "../lanes/trouble.ts"
import * as Operation from "../operation.ts"
import * as Record from "../record.ts"
import * as Lease from "./lease.ts"

type Store = Lease.LeaseStore<CheckpointerError>

/** @internal */
export const toService = (store: Store): ThreadLock.Service => ({
  withThreadLock: (threadId, effect, options) =>
    Effect.withFiberRuntime((fiber) => {
      const outer = Lease.heldOf(fiber, store, threadId)
      if (outer !== undefined && !outer.released) return under(outer, effect)
      const asked: Asked = { claim: toClaim(threadId, options), open: false }
      const taken = Operation.run(
        "withThreadLock",
        () => Operation.listAttributes({ threadId }),
        () =>
          Effect.zipRight(
            Effect.zip(Record.valid([["threadId", threadId]]), Record.valid([["holder", asked.claim.holder]])),
            take(store, asked, waitOf(options))
          )
      )
      return Effect.uninterruptibleMask((restore) =>
        Effect.onExit(restore(taken), (exit) =>
          // An interrupt may come between the server's answer and us.
          Exit.isFailure(exit) && asked.open ? giveBack(store, asked.claim) : Effect.void
        ).pipe(
          Effect.flatMap((lease) =>
            Effect.exit(restore(Effect.raceFirst(under(lease, effect), watch(store, lease)))).pipe(
              Effect.tap(() => end(store, lease)),
              Effect.flatten
            )
          )
        )
      )
    })
})

/** A claim, and whether it is unknown what has become of it. */
interface Asked {
  readonly claim: Lease.Claim
  open: boolean
}

interface Kept extends Lease.Held {
  lost: boolean
}

const under = <A, E, R>(
  lease: Lease.Held,
  effect: Effect.Effect<A, E, R>
): Effect.Effect<A, E, Exclude<R, ThreadLock.Lease>> =>
  effect.pipe(
    Effect.locallyWith(Lease.held, (others) => [lease, ...others]),
    Effect.provideService(ThreadLock.Lease, { threadId: lease.claim.threadId, token: lease.token })
  )

const take = Effect.fnUntraced(function* (
  store: Store,
  asked: Asked,
  wait: number
): Effect.fn.Return<Kept, ThreadLocked | CheckpointerError> {
  const { claim } = asked
  const clock = yield* Effect.clock
  const start = clock.unsafeCurrentTimeNanos()
  for (let pause = firstPause; ; pause = Math.min(2 * pause, lastPause)) {
    const since = clock.unsafeCurrentTimeNanos()
    asked.open = true
    const answer = yield* Effect.either(store.take(claim))
    if (Either.isRight(answer) && answer.right._tag === "Taken") {
      return { claim, token: answer.right.token, store, since, released: false, lost: false }
    }
    const waited = millis(clock.unsafeCurrentTimeNanos() - start)
    const rest = wait - waited
    let next = pause * (yield* Random.nextRange(0.5, 1))
    if (Either.isLeft(answer)) {
      if (rest <= 0 || !passing.has(Trouble.kindOf(answer.left))) return yield* answer.left
    } else if (answer.right._tag === "Held") {
      asked.open = false
      const { expiresIn, holder } = answer.right
      if (rest <= 0) return yield* new ThreadLocked({ threadId: claim.threadId, holder, expiresIn, waited })
      if (expiresIn > 0) next = Math.min(next, expiresIn)
    }
    yield* Effect.sleep(Math.ceil(Math.min(next, rest)))
  }
})

/**
 * Renews the lease until it is lost. Housekeeping: without spans, whoever is traced.
 *
 * Interruptible also where the effect is not, so that it ends with it.
 */
const watch = (store: Store, lease: Kept): Effect.Effect<never, LeaseLost> => {
  const { claim } = lease
  const third = claim.lasts / 3
  const renewals = Effect.gen(function* () {
    const clock = yield* Effect.clock
    let since = lease.since
    yield* Effect.sleep(third)
    while (true) {
      const sent = clock.unsafeCurrentTimeNanos()
      const left = claim.lasts - millis(sent - since)
      // Who wakes up too late asks, too: nobody need have come in between. The first try leaves time for a second one.
      const renewed = yield* Effect.exit(within(left > 0 ? Math.min(left, third) : third, store.renew(claim)))
      if (Exit.isSuccess(renewed)) {
        if (!renewed.value) return yield* Lease.lost(lease, "TakenOver")
        since = sent
        yield* Effect.sleep(third)
        continue
      }
      const rest = claim.lasts - millis(clock.unsafeCurrentTimeNanos() - since)
      if (rest <= 0) return yield* Lease.lost(lease, "NotRenewed", Cause.squash(renewed.cause))
      yield* Effect.logWarning(
        `The lease on thread ${JSON.stringify(claim.threadId)} was not renewed; it ends in ${Math.round(rest)} ms`,
        renewed.cause
      )
      yield* Effect.sleep(Math.ceil(Math.min(claim.lasts / 12, rest)))
    }
  })
  return Operation.run(
    "withThreadLock",
    () => ({}),
    () => Effect.tapError(renewals, () => Effect.sync(() => (lease.lost = true)))
  ).pipe(withoutSpans, Effect.interruptible)
}

/** A lease that is lost is somebody else's, or will be before the database can be reached. */
const end = (store: Store, lease: Kept): Effect.Effect<void> =>
  Effect.suspend(() => {
    lease.released = true
    return lease.lost ? Effect.void : giveBack(store, lease.claim)
  })

const giveBack = (store: Store, claim: Lease.Claim): Effect.Effect<void> =>
  within(releaseWithin, Effect.retry(store.release(claim), releases)).pipe(
    Effect.catchAllCause((cause) =>
      Effect.logWarning(
        `The lock of thread ${JSON.stringify(claim.threadId)} was not given back; it ends by itself within ${claim.lasts} ms`,
        cause
      )
    ),
    withoutSpans
  )

/** Doesn't wait for what hangs, even where nothing is interruptible. */
const within = <A, E>(limit: number, effect: Effect.Effect<A, E>): Effect.Effect<A, E | Error> =>
  Effect.timeoutFail(Effect.interruptible(Effect.disconnect(effect)), {
    duration: limit,
    onTimeout: () => new Error(`There was no answer within ${Math.round(limit)} ms`)
  })

const withoutSpans = <A, E>(effect: Effect.Effect<A, E>): Effect.Effect<A, E> =>
  Effect.mapInputContext(effect, (context: Context.Context<never>) => Context.omit(Tracer.ParentSpan)(context))

const toClaim = (threadId: string, { holder, lease = ThreadLock.defaults.lease }: ThreadLock.Options = {}) => {
  const lasts = Duration.toMillis(lease)
  if (!(lasts > 0 && lasts < Number.POSITIVE_INFINITY)) {
    throw new RangeError(`lease is ${lasts} ms, but has to be more than nothing, and has to end`)
  }
  return { threadId, id: crypto.randomUUID(), holder: holder ?? `process ${process.pid} on ${hostname()}`, lasts }
}

const waitOf = ({ wait = ThreadLock.defaults.wait }: ThreadLock.Options = {}): number => Duration.toMillis(wait)

const millis = (nanos: bigint): number => Number(nanos) / 1e6

/** In milliseconds, between two questions of one who waits. */
const firstPause = 50
const lastPause = 1000

/** Failures that are over soon: who may wait, waits for that, too. */
const passing: ReadonlySet<string> = new Set(["conflict", "saturated", "lost"])

const releaseWithin = 5000
const releases = { schedule: Schedule.exponential("50 millis"), times: 5 }
