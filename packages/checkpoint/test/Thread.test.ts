import { CheckpointError, Checkpointer, Retention, SqlCheckpointer, Thread, ThreadLock } from "@checkpool/checkpoint"
import { describe, expect, layer as sharedLayer } from "@effect/vitest"
import { Chunk, Deferred, Duration, Effect, Fiber, Layer, Option, Ref, Schema, Stream, TestServices } from "effect"
import { memoMap, stock } from "./database.ts"
import { at } from "./laws/use.ts"

const State = Schema.Struct({ count: Schema.Number, seen: Schema.ReadonlySet(Schema.String), at: Schema.Date })
const state = (count: number, ...seen: ReadonlyArray<string>) => ({ count, seen: new Set(seen), at: new Date(count) })

let threads = 0
const fresh = Effect.sync(() => `thread-${threads++}-${performance.now()}`)

const suite = <E>(name: string, layer: Layer.Layer<Checkpointer.Checkpointer, E>) =>
  describe(name, () => {
    sharedLayer(layer, { memoMap, timeout: "60 seconds" })((it) => {
      it.effect("loads what was saved, with the types of the schema", () =>
        Effect.gen(function* () {
          const thread = Thread.make({ id: yield* fresh, state: State })
          expect(yield* thread.load).toEqual(Option.none())
          const first = yield* thread.save(state(1, "a"))
          const second = yield* thread.save(state(2, "a", "b"))
          expect(yield* thread.load).toEqual(Option.some(state(2, "a", "b")))
          const history = Chunk.toReadonlyArray(yield* Stream.runCollect(thread.history))
          expect(history).toMatchObject([
            { checkpointId: second, parentId: Option.some(first), state: state(2, "a", "b") },
            { checkpointId: first, parentId: Option.none(), state: state(1, "a") }
          ])
          expect(yield* thread.at(first)).toEqual(Option.some(history[1]))
          expect(yield* thread.at("1")).toEqual(Option.none())
        })
      )

      it.effect("goes back to an earlier state, and on from there, without losing what came after it", () =>
        Effect.gen(function* () {
          const thread = Thread.make({ id: yield* fresh, state: State, namespace: "inner" })
          const first = yield* thread.save(state(1))
          yield* thread.save(state(2))
          expect(Option.isSome(yield* thread.forkAt(first))).toBe(true)
          expect(yield* thread.load).toEqual(Option.some(state(1)))
          yield* thread.update((before) => Effect.succeed(state(Option.getOrThrow(before).count + 10)))
          const counts = yield* Stream.runCollect(Stream.map(thread.history, ({ state }) => state.count))
          expect([...counts]).toEqual([11, 1, 2, 1])
          expect(yield* thread.forkAt("1")).toEqual(Option.none())
        })
      )

      it.effect("loses no update of many that are made at the same time", () =>
        Effect.gen(function* () {
          const thread = Thread.make({ id: yield* fresh, state: Schema.Struct({ by: Schema.Array(Schema.Number) }) })
          const tries = yield* Ref.make(0)
          const names = Array.from({ length: 6 }, (_, i) => i)
          const append = (name: number) =>
            thread.update((before) =>
              Effect.gen(function* () {
                yield* Ref.update(tries, (n) => n + 1)
                yield* Effect.yieldNow()
                return { by: [...Option.match(before, { onNone: () => [], onSome: ({ by }) => by }), name] }
              })
            )
          yield* TestServices.provideLive(Effect.forEach(names, append, { concurrency: "unbounded" }))
          const { by } = Option.getOrThrow(yield* thread.load)
          expect(by.toSorted()).toEqual(names)
          expect(yield* Ref.get(tries)).toBeGreaterThan(names.length)
        })
      )

      it.effect("fails an update for the error of the application at once, and saves nothing", () =>
        Effect.gen(function* () {
          const thread = Thread.make({ id: yield* fresh, state: State })
          const tries = yield* Ref.make(0)
          const update = thread.update(() =>
            Effect.zipRight(
              Ref.update(tries, (n) => n + 1),
              Effect.fail("no")
            )
          )
          expect(yield* Effect.flip(update)).toBe("no")
          expect(yield* Ref.get(tries)).toBe(1)
          expect(yield* thread.load).toEqual(Option.none())
        })
      )

      it.effect("does not take a conflict of the application's own for one of the update", () =>
        Effect.gen(function* () {
          const [thread, other] = [yield* fresh, yield* fresh].map((id) => Thread.make({ id, state: State }))
          const tries = yield* Ref.make(0)
          const stale = new CheckpointError.StaleHead({
            threadId: other!.id,
            namespace: "",
            expected: "1",
            actual: "2"
          })
          const update = thread!.update(() =>
            Effect.zipRight(
              Ref.update(tries, (n) => n + 1),
              Effect.fail(stale)
            )
          )
          expect(yield* Effect.flip(update)).toBe(stale)
          expect(yield* Ref.get(tries)).toBe(1)
        })
      )

      it.effect("names checkpoint and path of a state that the schema does not take any more, and migrates it", () =>
        Effect.gen(function* () {
          const id = yield* fresh
          const old = Thread.make({ id, state: Schema.Struct({ user: Schema.Struct({ age: Schema.String }) }) })
          const checkpointId = yield* old.save({ user: { age: "42" } })
          const state = Schema.Struct({ user: Schema.Struct({ age: Schema.Number }) })
          const error = yield* Effect.flip(Thread.make({ id, state, version: 2 }).load)
          expect(error).toMatchObject({ _tag: "StateError", operation: "decode", checkpointId, version: 1 })
          expect(error).toMatchObject({ threadId: id, path: ["user", "age"] })
          expect(error.message).toContain("user.age")
          const thread = Thread.make({
            id,
            state,
            version: 2,
            migrate: (saved, version) => {
              expect(version).toBe(1)
              return Effect.succeed({ user: { age: Number((saved as { user: { age: string } }).user.age) } })
            }
          })
          expect(yield* thread.load).toEqual(Option.some({ user: { age: 42 } }))
          yield* thread.save({ user: { age: 43 } })
          const ages = yield* Stream.runCollect(Stream.map(thread.history, ({ state }) => state.user.age))
          expect([...ages]).toEqual([43, 42])
        })
      )

      it.effect("is locked for others while an effect runs, and for no longer", () =>
        Effect.gen(function* () {
          const id = yield* fresh
          const [thread, other] = [Thread.make({ id, state: State }), Thread.make({ id, state: State })]
          const asked = yield* Deferred.make<void>()
          const asks = yield* Effect.fork(
            Effect.zipRight(Deferred.await(asked), Effect.flip(other.withLock(other.save(state(2)))))
          )
          const save = Effect.gen(function* () {
            yield* Deferred.succeed(asked, undefined)
            expect(yield* Fiber.join(asks)).toMatchObject({ _tag: "ThreadLocked", threadId: id, holder: "mine" })
            yield* thread.update(() => Effect.succeed(state(1)))
            return (yield* ThreadLock.Lease).token
          })
          const token = yield* thread.withLock(save, { holder: "mine" })
          expect(yield* other.withLock(Effect.map(ThreadLock.Lease, ({ token }) => token))).toBeGreaterThan(token)
          expect(yield* thread.load).toEqual(Option.some(state(1)))
        })
      )

      it.effect("is deleted when its time to live is over since the last save, and not before", () =>
        Effect.gen(function* () {
          const id = yield* fresh
          const thread = Thread.make({ id, state: State })
          expect(yield* thread.ttl).toEqual(Option.none())
          yield* thread.setTtl("2 hours")
          expect(yield* thread.ttl).toEqual(Option.some(Duration.hours(2)))
          const pass = Retention.run({ policy: {}, after: id.slice(0, -1), before: `${id}0` })
          const oClock = (hour: number) => at(Date.UTC(2026, 0, 1, hour))
          for (const hour of [12, 13]) {
            yield* oClock(hour)(thread.save(state(hour)))
            expect(yield* oClock(hour + 1)(pass)).toMatchObject({ threads: 1, deleted: 0 })
            expect(yield* thread.load).toEqual(Option.some(state(hour)))
          }
          expect(yield* oClock(16)(pass)).toMatchObject({ threads: 1, deleted: 1 })
          expect(yield* thread.load).toEqual(Option.none())
          expect(yield* thread.ttl).toEqual(Option.none())
        })
      )

      it.effect("refuses to save what the schema can't encode", () =>
        Effect.gen(function* () {
          const thread = Thread.make({
            id: yield* fresh,
            state: Schema.Struct({ n: Schema.Number.pipe(Schema.positive()) })
          })
          expect(yield* Effect.flip(thread.save({ n: -1 }))).toMatchObject({ operation: "encode", path: ["n"] })
          expect(yield* thread.load).toEqual(Option.none())
        })
      )
    })
  })

suite("Thread in memory", Checkpointer.layerMemory)
suite("Thread in Postgres", SqlCheckpointer.layer().pipe(Layer.provide(stock())))
