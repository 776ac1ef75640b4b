/**
 * Leases on threads: what a layer keeps of them, and which ones a fiber has.
 *
 * @internal
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as FiberRef from "effect/FiberRef"
import { LeaseLost } from "../../CheckpointError.ts"

/** Who asks for a lease. @internal */
export interface Claim {
  readonly threadId: string
  /** Names the lease, and no other one ever. */
  readonly id: string
  /** For people. */
  readonly holder: string
  /** In milliseconds, from when it is given or renewed. */
  readonly lasts: number
}

/** @internal */
export type Answer =
  | { readonly _tag: "Taken"; readonly token: number }
  | { readonly _tag: "Held"; readonly holder: string | null; readonly expiresIn: number }

/**
 * The leases of a store; each operation is atomic. A claim is in force from `take` on until `release`, or until another one
 * takes the thread after its time.
 *
 * @internal
 */
export interface LeaseStore<E> {
  /**
   * The thread's lease, if nobody's is in force, or this very claim's. It is not given while something that was written
   * under the last one is on its way, and that is not waited for.
   */
  readonly take: (claim: Claim) => Effect.Effect<Answer, E>
  /** Whether the claim is in force; then it lasts anew. */
  readonly renew: (claim: Claim) => Effect.Effect<boolean, E>
  /** Waits for what was written under it and is on its way. No-op if it is not in force. */
  readonly release: (claim: Claim) => Effect.Effect<void, E>
}

/** What a fiber holds. @internal */
export interface Held {
  readonly claim: Claim
  readonly token: number
  readonly store: LeaseStore<unknown>
  /** By the monotonic clock, in nanoseconds. */
  readonly since: bigint
  /** From then on nothing may be written under it, whatever the store would say. */
  released: boolean
}

/** The innermost first. @internal */
export const held: FiberRef.FiberRef<ReadonlyArray<Held>> = FiberRef.unsafeMake<ReadonlyArray<Held>>([])

/** @internal */
export const heldOf = (
  fiber: Fiber.RuntimeFiber<unknown, unknown>,
  store: LeaseStore<unknown>,
  threadId: string
): Held | undefined => {
  const all = fiber.getFiberRef(held)
  // Hardly anybody has one, and each write asks.
  return all.length === 0 ? undefined : all.find((one) => one.store === store && one.claim.threadId === threadId)
}

/**
 * What writes to threads, given those leases on them that the caller has; most have none.
 *
 * @internal
 */
export const fenced = <A, E>(
  store: LeaseStore<unknown>,
  threadIds: ReadonlyArray<string>,
  write: (fences: ReadonlyArray<Held>) => Effect.Effect<A, E>
): Effect.Effect<A, E | LeaseLost> =>
  Effect.withFiberRuntime<A, E | LeaseLost>((fiber) => {
    if (fiber.getFiberRef(held).length === 0) return write([])
    const fences = threadIds.flatMap((threadId) => heldOf(fiber, store, threadId) ?? [])
    const released = fences.find((fence) => fence.released)
    return released === undefined ? write(fences) : lost(released, "Released")
  })

/** @internal */
export const lost = (lease: Held, reason: LeaseLost["reason"], cause?: unknown): Effect.Effect<never, LeaseLost> =>
  Effect.withFiberRuntime((fiber) => {
    const now = Context.get(fiber.currentDefaultServices, Clock.Clock).unsafeCurrentTimeNanos()
    return new LeaseLost({
      threadId: lease.claim.threadId,
      token: lease.token,
      reason,
      age: Number(now - lease.since) / 1e6,
      ...(cause === undefined ? {} : { cause })
    })
  })
