/**
 * What becomes of a resource that is given back: keep it, close it, or make it ready first.
 *
 * A recycler is a small pure policy; policies compose with `combine`. It deliberately knows nothing of the pool's own
 * limits (lifetime, uses, generation): those come first.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"

/**
 * Keep the resource.
 *
 * @category models
 * @since 0.1.0
 */
export interface Keep {
  readonly _tag: "Keep"
}

/**
 * Close the resource; `detail` goes into the event `Closed`.
 *
 * @category models
 * @since 0.1.0
 */
export interface Close {
  readonly _tag: "Close"
  readonly detail: unknown
}

/**
 * What a recycler decides.
 *
 * @category models
 * @since 0.1.0
 */
export type Verdict = Keep | Close

/**
 * What is known of the lease that ends.
 *
 * @category models
 * @since 0.1.0
 */
export interface Lease {
  /** How many times the resource was lent, this one included. */
  readonly uses: number
}

/**
 * Decides on the way back. A plain verdict costs nothing; an effect (a reset that talks to a server) runs in the
 * background under the pool's reset timeout, so that the borrower does not wait for it. If it fails, dies or takes too
 * long, the resource is closed.
 *
 * @category models
 * @since 0.1.0
 */
export type Recycler<in A> = (resource: A, lease: Lease) => Verdict | Effect.Effect<Verdict, unknown>

/**
 * The verdict to keep the resource.
 *
 * @category constructors
 * @since 0.1.0
 */
export const keep: Verdict = { _tag: "Keep" }

/**
 * The verdict to close the resource, and why.
 *
 * @category constructors
 * @since 0.1.0
 */
export const close = (detail: unknown): Verdict => ({ _tag: "Close", detail })

/**
 * Keeps everything: the neutral element of `combine`.
 *
 * @category constructors
 * @since 0.1.0
 */
export const always: Recycler<unknown> = () => keep

/**
 * Closes what the predicate holds for.
 *
 * @category constructors
 * @since 0.1.0
 */
export const closeWhen =
  <A>(predicate: (resource: A, lease: Lease) => boolean, detail: unknown): Recycler<A> =>
  (resource, lease) =>
    predicate(resource, lease) ? close(detail) : keep

/**
 * Runs an effect on what the predicate holds for, then keeps it.
 *
 * @category constructors
 * @since 0.1.0
 */
export const resetWhen =
  <A>(predicate: (resource: A) => boolean, reset: (resource: A) => Effect.Effect<unknown, unknown>): Recycler<A> =>
  (resource) =>
    predicate(resource) ? Effect.as(reset(resource), keep) : keep

/**
 * Asks the first, and the second if the first keeps. Associative, with `always` as its neutral element.
 *
 * @category combining
 * @since 0.1.0
 */
export const combine =
  <A>(first: Recycler<A>, second: Recycler<A>): Recycler<A> =>
  (resource, lease) => {
    const verdict = first(resource, lease)
    if (Effect.isEffect(verdict)) {
      return Effect.flatMap(verdict, (verdict) => {
        const next = verdict._tag === "Keep" ? second(resource, lease) : verdict
        return Effect.isEffect(next) ? next : Effect.succeed(next)
      })
    }
    return verdict._tag === "Keep" ? second(resource, lease) : verdict
  }
