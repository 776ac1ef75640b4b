/**
 * The pools that are compared. All have ten slots and lend a resource that does nothing.
 */
import { EventEmitter } from "node:events"
import * as Users from "@checkpool/benchmark/Users"
import { Pool } from "@checkpool/pool"
import { Effect, Pool as EffectPool, Metric, MetricBoundaries, Stream } from "effect"
import * as GenericPool from "generic-pool"
import PgPool from "pg-pool"
import * as Tarn from "tarn"

export const slots = 10

export interface Contestant {
  readonly name: string
  /** `users` at once, each of whom borrows and gives back so many times; the nanoseconds for one time. */
  readonly measure: (users: number, times: number) => Promise<number>
}

/** With one user, who never waits, the work is empty; otherwise it yields once, so that the others come to wait. */
const work = (users: number) => (users === 1 ? Effect.void : Effect.yieldNow())

const effects = (name: string, borrow: (work: Effect.Effect<void>) => Effect.Effect<unknown, unknown>): Contestant => ({
  name,
  measure: (users, times) => Users.effects(users, times, borrow(work(users)))
})

const promises = <A>(name: string, acquire: () => Promise<A>, release: (resource: A) => unknown): Contestant => ({
  name,
  measure: (users, times) =>
    Users.promises(users, times, async () => {
      const resource = await acquire()
      if (users > 1) await undefined
      await release(resource)
    })
})

const acquire = Effect.acquireRelease(
  Effect.sync(() => ({})),
  () => Effect.void
)

const warm = { acquire, max: slots, min: slots, start: "min" } as const

/** A histogram of the waits, one of the uses, and a reader of the events. */
const observed = Effect.gen(function* () {
  const histogram = (name: string) =>
    Metric.histogram(name, MetricBoundaries.fromIterable([0.001, 0.005, 0.01, 0.025, 0.05, 0.1]))
  const [waits, uses] = [histogram("waits"), histogram("uses")]
  const pool = yield* Pool.make({
    ...warm,
    observer: {
      acquired: (millis) => waits.unsafeUpdate(millis / 1000, []),
      released: (millis) => uses.unsafeUpdate(millis / 1000, [])
    }
  })
  yield* Effect.forkScoped(Stream.runDrain(pool.events))
  return pool
})

class Client extends EventEmitter {
  connect(done: () => void) {
    done()
  }
  end(done: () => void) {
    done()
  }
}

const pgPool = (name: string, options: object) =>
  Effect.map(
    Effect.acquireRelease(
      Effect.sync(() => new PgPool({ max: slots, Client: Client as never, ...options } as never)),
      (pool) => Effect.promise(() => pool.end())
    ),
    (pool) =>
      promises(
        name,
        () => pool.connect(),
        (client) => client.release()
      )
  )

const tarn = Effect.map(
  Effect.acquireRelease(
    Effect.sync(() => new Tarn.Pool({ create: () => ({}), destroy: () => {}, min: slots, max: slots })),
    (pool) => Effect.promise(() => pool.destroy())
  ),
  (pool) =>
    promises(
      "tarn",
      () => pool.acquire().promise,
      (resource) => pool.release(resource)
    )
)

const generic = Effect.map(
  Effect.acquireRelease(
    Effect.sync(() =>
      GenericPool.createPool(
        { create: () => Promise.resolve({}), destroy: () => Promise.resolve() },
        { min: slots, max: slots, acquireTimeoutMillis: 10_000 }
      )
    ),
    (pool) => Effect.promise(() => pool.drain().then(() => pool.clear()))
  ),
  (pool) =>
    promises(
      "generic-pool",
      async () => pool.acquire(),
      (resource) => pool.release(resource)
    )
)

/** The first is `use`, which the others are compared with. */
export const make = Effect.gen(function* () {
  const ours = yield* Pool.make(warm)
  const watched = yield* observed
  const v3 = yield* EffectPool.make({ acquire, size: slots })
  return [
    effects("`use`", (work) => ours.use(() => work)),
    effects("`use`, fully observed", (work) => watched.use(() => work)),
    effects("`get`, scoped", (work) => Effect.scoped(Effect.zipRight(ours.get, work))),
    effects("Effect v3 `Pool.get`, scoped", (work) => Effect.scoped(Effect.zipRight(v3.get, work))),
    effects("an empty `acquireUseRelease`", (work) =>
      Effect.acquireUseRelease(
        Effect.void,
        () => work,
        () => Effect.void
      )
    ),
    yield* pgPool("pg-pool, with a deadline", { connectionTimeoutMillis: 10_000 }),
    yield* pgPool("pg-pool, without", {}),
    yield* tarn,
    yield* generic
  ]
})
