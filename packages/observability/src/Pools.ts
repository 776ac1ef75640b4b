/**
 * The pools of a program, where they come and go: a tool that makes one for each database that it is told of, say. Whoever
 * watches them sees each one from the moment that it is added until its scope closes.
 *
 * A program whose pools live as long as itself needs none of this: it passes them as an array.
 *
 * @since 0.1.0
 */
import type { Pool } from "@checkpool/pool/Pool"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"

/**
 * A pool, whatever it lends.
 *
 * @category models
 * @since 0.1.0
 */
// biome-ignore lint/suspicious/noExplicitAny: what a pool lends does not matter here, and no other type fits all.
export type AnyPool = Pool<any>

/**
 * Pools that come and go.
 *
 * @category models
 * @since 0.1.0
 */
export interface Pools {
  /** Those that are there now, in the order in which they came. */
  readonly current: () => ReadonlyArray<AnyPool>
  /** Shows the pool to all who watch, until the scope closes. */
  readonly add: (pool: AnyPool) => Effect.Effect<void, never, Scope.Scope>
  /**
   * Runs an effect for each pool, for those that are there and those that will come. It is not interruptible; what it
   * acquires and forks lasts until that pool goes, or until the scope at hand closes.
   */
  readonly each: (
    watch: (pool: AnyPool) => Effect.Effect<void, never, Scope.Scope>
  ) => Effect.Effect<void, never, Scope.Scope>
}

/**
 * Makes an empty list of pools.
 *
 * @category constructors
 * @since 0.1.0
 * @example
 * ```ts
 * import { ObservabilityServer, Pools } from "@checkpool/observability"
 * import { Pool } from "@checkpool/pool"
 * import { Effect } from "effect"
 *
 * const program = Effect.gen(function* () {
 *   const pools = yield* Pools.make
 *   const { url } = yield* ObservabilityServer.make(pools, { port: 0 })
 *   const pool = yield* Pool.make({ name: "late", acquire: Effect.succeed("resource"), max: 1 })
 *   yield* pools.add(pool)
 *   const answer = yield* Effect.promise(() => fetch(`${url}/health/ready`))
 *   return answer.status
 * }).pipe(Effect.scoped)
 *
 * console.log(await Effect.runPromise(program)) // 200
 * ```
 */
export const make: Effect.Effect<Pools> = Effect.sync(() => {
  const members = new Set<Member>()
  const watchers = new Set<Watcher>()
  // One may go while others are still being told of it.
  const begin = ({ scopes, watch }: Watcher, member: Member) =>
    Effect.flatMap(Scope.make(), (scope) => {
      if (!members.has(member)) return Effect.void
      scopes.set(member, scope)
      return Scope.extend(watch(member.pool), scope)
    })
  return {
    current: () => Array.from(members, ({ pool }) => pool),
    add: (pool) =>
      Effect.asVoid(
        Effect.acquireRelease(
          Effect.suspend(() => {
            const member = { pool }
            members.add(member)
            return Effect.as(
              Effect.forEach([...watchers], (watcher) => begin(watcher, member)),
              member
            )
          }),
          (member) =>
            Effect.suspend(() => {
              members.delete(member)
              return Effect.forEach([...watchers], (watcher) => end(watcher, member))
            })
        )
      ),
    each: (watch) =>
      Effect.asVoid(
        Effect.acquireRelease(
          Effect.suspend(() => {
            const watcher: Watcher = { watch, scopes: new Map() }
            watchers.add(watcher)
            return Effect.as(
              Effect.forEach([...members], (member) => begin(watcher, member)),
              watcher
            )
          }),
          (watcher) =>
            Effect.suspend(() => {
              watchers.delete(watcher)
              return Effect.forEach([...watcher.scopes.keys()], (member) => end(watcher, member))
            })
        )
      )
  }
})

/**
 * Pools that stay: an array of them, or what {@link make} gives.
 *
 * @category models
 * @since 0.1.0
 */
export type Given = ReadonlyArray<AnyPool> | Pools

/** @internal */
export const from = (given: Given): Effect.Effect<Pools, never, Scope.Scope> =>
  "current" in given
    ? Effect.succeed(given)
    : Effect.tap(make, (pools) => Effect.forEach(given, (pool) => pools.add(pool), { discard: true }))

/** A pool as it was added: it may be added once more. */
interface Member {
  readonly pool: AnyPool
}

interface Watcher {
  readonly watch: (pool: AnyPool) => Effect.Effect<void, never, Scope.Scope>
  readonly scopes: Map<Member, Scope.CloseableScope>
}

const end = ({ scopes }: Watcher, member: Member): Effect.Effect<void> => {
  const scope = scopes.get(member)
  scopes.delete(member)
  return scope === undefined ? Effect.void : Scope.close(scope, Exit.void)
}
