/**
 * What one acquire and release of a resource that does nothing costs, beside other pools. The variants take turns within
 * a round; ratios are taken within a round, and their median and range are printed.
 *
 *     npx tsc -b packages/pool/benchmark && node packages/pool/benchmark/dist/compare.js [rounds]
 */
import { EventEmitter } from "node:events"
import { Pool } from "@checkpool/pool"
import { Effect, Pool as EffectPool, Metric, MetricBoundaries, Stream } from "effect"
import * as GenericPool from "generic-pool"
import PgPool from "pg-pool"
import * as Tarn from "tarn"

const rounds = Number(process.argv[2] ?? 9)
const slots = 10

/** Runs `users` users at once, each of them `times` times; gives the nanoseconds for one time. */
type Variant = (users: number, times: number) => Promise<number>

const timed = async (users: number, times: number, run: () => Promise<unknown>): Promise<number> => {
  const began = process.hrtime.bigint()
  await run()
  return Number(process.hrtime.bigint() - began) / (users * times)
}

/** With one user, who never waits, the work is empty; otherwise it yields once, so that the others come to wait. */
const work = (users: number) => (users === 1 ? Effect.void : Effect.yieldNow())

const effects =
  (one: (users: number) => Effect.Effect<unknown, unknown>): Variant =>
  (users, times) => {
    const user = Effect.repeatN(one(users), times - 1)
    const all = Effect.forEach(Array.from({ length: users }), () => user, { concurrency: "unbounded", discard: true })
    return timed(users, times, () => Effect.runPromise(all))
  }

const promises =
  <A>(acquire: () => Promise<A>, release: (resource: A) => unknown): Variant =>
  (users, times) => {
    const user = async () => {
      for (let i = 0; i < times; i++) {
        const resource = await acquire()
        if (users > 1) await undefined
        await release(resource)
      }
    }
    return timed(users, times, () => Promise.all(Array.from({ length: users }, user)))
  }

const main = Effect.gen(function* () {
  const acquire = Effect.acquireRelease(
    Effect.sync(() => ({})),
    () => Effect.void
  )
  const ours = yield* Pool.make({ acquire, max: slots, min: slots, start: "min" })
  const waits = Metric.histogram("waits", MetricBoundaries.fromIterable([0.001, 0.005, 0.01, 0.025, 0.05, 0.1]))
  const observed = yield* Pool.make({
    acquire,
    max: slots,
    min: slots,
    start: "min",
    observer: {
      acquired: (millis) => waits.unsafeUpdate(millis / 1000, []),
      released: (millis) => waits.unsafeUpdate(millis / 1000, [])
    }
  })
  yield* Effect.forkScoped(Stream.runDrain(observed.events))
  const v3 = yield* EffectPool.make({ acquire, size: slots })
  class Client extends EventEmitter {
    connect(done: () => void) {
      done()
    }
    end(done: () => void) {
      done()
    }
  }
  const pgPool = new PgPool({ max: slots, Client: Client as never } as never)
  const tarn = new Tarn.Pool({ create: () => ({}), destroy: () => {}, min: slots, max: slots })
  const generic = GenericPool.createPool(
    { create: () => Promise.resolve({}), destroy: () => Promise.resolve() },
    { min: slots, max: slots }
  )

  const variants: Record<string, Variant> = {
    "checkpool `use`": effects((users) => ours.use(() => work(users))),
    "checkpool `use`, observed": effects((users) => observed.use(() => work(users))),
    "checkpool `get`, scoped": effects((users) => Effect.scoped(Effect.zipRight(ours.get, work(users)))),
    "Effect v3 `Pool.get`, scoped": effects((users) => Effect.scoped(Effect.zipRight(v3.get, work(users)))),
    "empty `acquireUseRelease`": effects((users) =>
      Effect.acquireUseRelease(
        Effect.void,
        () => work(users),
        () => Effect.void
      )
    ),
    "pg-pool": promises(
      () => pgPool.connect(),
      (client) => client.release()
    ),
    tarn: promises(
      () => tarn.acquire().promise,
      (resource) => tarn.release(resource)
    ),
    "generic-pool": promises(
      async () => generic.acquire(),
      (resource) => generic.release(resource)
    )
  }

  for (const [users, times] of [
    [1, 20_000],
    [64, 150],
    [1000, 10]
  ] as const) {
    const samples = new Map(Object.keys(variants).map((name) => [name, [] as Array<number>]))
    for (let round = -2; round < rounds; round++) {
      for (const [name, run] of Object.entries(variants)) {
        const nanos = yield* Effect.promise(() => run(users, times))
        if (round >= 0) samples.get(name)!.push(nanos)
      }
    }
    yield* Effect.sync(() => print(users, samples))
  }
  yield* Effect.promise(() => Promise.all([pgPool.end(), tarn.destroy(), generic.drain().then(() => generic.clear())]))
})

const median = (values: ReadonlyArray<number>) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]!

const print = (users: number, samples: ReadonlyMap<string, ReadonlyArray<number>>): void => {
  const ours = samples.get("checkpool `use`")!
  console.log(`\n${users === 1 ? "1 user" : `${users} users`}, ${slots} slots\n`)
  console.log("| | ns, median | `use` takes |")
  console.log("| --- | --- | --- |")
  for (const [name, values] of samples) {
    const ratios = ours.map((nanos, round) => nanos / values[round]!)
    const range = `${Math.min(...ratios).toFixed(2)}–${Math.max(...ratios).toFixed(2)}`
    console.log(`| ${name} | ${median(values).toFixed(0)} | ${median(ratios).toFixed(2)}× (${range}) |`)
  }
}

Effect.runPromise(Effect.scoped(main)).catch((error) => {
  console.error(error)
  process.exitCode = 1
})
