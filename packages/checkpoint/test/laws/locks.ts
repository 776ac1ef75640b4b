import { Checkpoint, Checkpointer, ThreadLock } from "@checkpool/checkpoint"
import { expect, type Vitest } from "@effect/vitest"
import { Cause, Deferred, Effect, Exit, Fiber, Option, TestServices } from "effect"
import { checkpoint, commit, deleteThread, getSome, listIds, put, putWrites } from "./use.ts"

const withLock = <A, E, R>(threadId: string, effect: Effect.Effect<A, E, R>, options?: ThreadLock.Options) =>
  Effect.flatMap(Checkpointer.Checkpointer, (checkpointer) => checkpointer.withThreadLock(threadId, effect, options))

const token = Effect.map(ThreadLock.Lease, ({ token }) => token)

/**
 * A holder that stands still, as a process that is stopped: its lease is over at once, and it neither renews it nor notices,
 * until it is woken.
 */
const stopped = <A, E, R>(threadId: string, effect: Effect.Effect<A, E, R>) =>
  Effect.gen(function* () {
    const [entered, woken] = [yield* Deferred.make<number>(), yield* Deferred.make<void>()]
    const clock = yield* Effect.clock
    const now = clock.unsafeCurrentTimeNanos()
    let isStill = true
    const still = Object.assign(Object.create(clock), {
      unsafeCurrentTimeNanos: () => now,
      // From then on nothing takes too long.
      sleep: () => (isStill ? Deferred.await(woken) : Effect.never)
    })
    const fiber = yield* Effect.fork(
      Effect.withClock(
        withLock(
          threadId,
          Effect.zipRight(
            Effect.flatMap(token, (token) => Deferred.succeed(entered, token)),
            effect
          ),
          {
            lease: "1 millis",
            holder: "the one that stands still"
          }
        ),
        still
      )
    )
    return {
      token: yield* Effect.raceFirst(Deferred.await(entered), Effect.zipRight(Fiber.join(fiber), Effect.never)),
      wake: Effect.suspend(() => {
        isStill = false
        return Deferred.succeed(woken, undefined)
      }),
      fiber
    }
  })

/** As soon as the last lease is over. */
const takeOver = <A, E, R>(threadId: string, effect: Effect.Effect<A, E, R>) =>
  withLock(threadId, effect, { wait: "20 seconds", holder: "the next one" })

const w = [{ channel: "a", value: 1 }]

/** Locks. Time is real in all of it: the database's is, too. */
export const locks = (it: Vitest.MethodsNonLive<Checkpointer.Checkpointer>) => {
  const live = <A, E>(name: string, effect: Effect.Effect<A, E, Checkpointer.Checkpointer>) =>
    it.effect(name, () => TestServices.provideLive(effect))

  live(
    "a lock lets in one at a time, who waits after the others, with a greater token each time",
    Effect.gen(function* () {
      const threadId = yield* Checkpoint.makeId
      const tokens: Array<number> = []
      let inside = 0
      const enter = Effect.gen(function* () {
        expect(++inside).toBe(1)
        tokens.push(yield* token)
        yield* put({ threadId, checkpoint: checkpoint(String(tokens.length)) })
        inside--
      })
      yield* Effect.replicateEffect(withLock(threadId, enter, { wait: "30 seconds" }), 4, { concurrency: "unbounded" })
      expect(tokens).toHaveLength(4)
      expect(tokens).toEqual([...new Set(tokens)].sort((a, b) => a - b))
    })
  )

  live(
    "a lock that somebody has is refused at once: who has it, for how long, and nothing is begun",
    Effect.gen(function* () {
      const [threadId, other] = [yield* Checkpoint.makeId, yield* Checkpoint.makeId]
      const checkpointer = yield* Checkpointer.Checkpointer
      let begun = false
      // From another fiber, so that it is somebody else.
      const asked = yield* Deferred.make<void>()
      const result = yield* Effect.fork(
        Effect.zipRight(
          Deferred.await(asked),
          Effect.either(
            withLock(
              threadId,
              Effect.sync(() => (begun = true))
            )
          )
        )
      )
      const error = yield* checkpointer.withThreadLock(
        threadId,
        Effect.gen(function* () {
          yield* Deferred.succeed(asked, undefined)
          // Threads don't lock each other, and reading needs no lock.
          expect(yield* withLock(other, Effect.succeed(1))).toBe(1)
          expect(yield* listIds({ threadId })).toEqual([])
          return yield* Effect.flip(yield* Fiber.join(result))
        }),
        { holder: "worker 7" }
      )
      expect(begun).toBe(false)
      expect(error).toMatchObject({ _tag: "ThreadLocked", threadId, holder: "worker 7" })
      expect(error.message).toContain("worker 7")
      const { expiresIn, waited } = error as Extract<typeof error, { _tag: "ThreadLocked" }>
      expect(expiresIn).toBeGreaterThan(0)
      expect(expiresIn).toBeLessThanOrEqual(30_000)
      expect(waited).toBeGreaterThanOrEqual(0)
    })
  )

  live(
    "a lock is given back when its effect succeeds, fails or is interrupted",
    Effect.gen(function* () {
      const threadId = yield* Checkpoint.makeId
      expect(yield* withLock(threadId, Effect.succeed("done"))).toBe("done")
      expect(yield* Effect.flip(withLock(threadId, Effect.fail("no")))).toBe("no")
      expect(Exit.isFailure(yield* Effect.exit(withLock(threadId, Effect.die("bug"))))).toBe(true)
      const entered = yield* Deferred.make<void>()
      const fiber = yield* Effect.fork(
        withLock(threadId, Effect.zipRight(Deferred.succeed(entered, undefined), Effect.never))
      )
      yield* Deferred.await(entered)
      expect(
        yield* Effect.flip(Effect.forkDaemon(withLock(threadId, Effect.void)).pipe(Effect.flatMap(Fiber.join)))
      ).toMatchObject({ _tag: "ThreadLocked" })
      yield* Fiber.interrupt(fiber)
      expect(yield* Effect.uninterruptible(withLock(threadId, Effect.succeed("done")))).toBe("done")
    })
  )

  live(
    "nothing is stored of what the holder writes whose lease was taken over",
    Effect.gen(function* () {
      const checkpointer = yield* Checkpointer.Checkpointer
      const [threadId, other] = [yield* Checkpoint.makeId, yield* Checkpoint.makeId]
      const goOn = yield* Deferred.make<void>()
      yield* put({ threadId, checkpoint: checkpoint("1"), metadata: { run_id: `run ${threadId}` } })
      yield* put({ threadId, checkpoint: checkpoint("2") })
      yield* put({ threadId: other, checkpoint: checkpoint("1") })
      const writes: ReadonlyArray<Effect.Effect<unknown, unknown, Checkpointer.Checkpointer>> = [
        put({ threadId, checkpoint: checkpoint("9") }),
        put({ threadId, namespace: "inner", checkpoint: checkpoint("9") }),
        putWrites({ threadId, checkpointId: "2", taskId: "late", writes: w }),
        commit({ threadId, checkpoint: checkpoint("9"), writes: [{ taskId: "late", writes: w }] }),
        commit({ threadId, checkpoint: checkpoint("9"), writes: [] }),
        put({ threadId, checkpoint: checkpoint("9"), expectHead: "2" }),
        deleteThread(threadId),
        checkpointer.prune({ threadId }),
        checkpointer.forkAt({ threadId, checkpointId: "1" }),
        checkpointer.deleteForRuns([`run ${threadId}`]),
        checkpointer.copyThread(other, threadId),
        checkpointer.copyThread(threadId, `${threadId} copy`)
      ]
      const late = yield* stopped(
        threadId,
        Effect.gen(function* () {
          yield* Deferred.await(goOn)
          const all = yield* Effect.forEach(writes, Effect.flip)
          yield* put({ threadId: other, checkpoint: checkpoint("2") })
          return all
        })
      )
      const newer = yield* takeOver(
        threadId,
        Effect.gen(function* () {
          yield* Deferred.succeed(goOn, undefined)
          const errors = yield* Fiber.join(late.fiber)
          for (const error of errors) {
            expect(error).toMatchObject({ _tag: "LeaseLost", threadId, token: late.token, reason: "TakenOver" })
          }
          expect(yield* listIds({ threadId })).toEqual(["2", "1"])
          expect((yield* getSome({ threadId })).pendingWrites).toEqual([])
          expect(yield* listIds({ threadId: other })).toEqual(["2", "1"])
          yield* put({ threadId, checkpoint: checkpoint("3") })
          return yield* token
        })
      )
      expect(newer).toBeGreaterThan(late.token)
      expect(yield* listIds({ threadId })).toEqual(["3", "2", "1"])
    })
  )

  live(
    "a write that is refused because its lease is lost does no harm to others at the same time",
    Effect.gen(function* () {
      const threadId = yield* Checkpoint.makeId
      const goOn = yield* Deferred.make<void>()
      const late = yield* stopped(
        threadId,
        Effect.zipRight(Deferred.await(goOn), Effect.flip(put({ threadId, checkpoint: checkpoint("late") })))
      )
      yield* takeOver(threadId, Effect.void)
      yield* Deferred.succeed(goOn, undefined)
      const ids = Array.from({ length: 30 }, (_, i) => `${i}`)
      const [error] = yield* Effect.all(
        [
          Fiber.join(late.fiber),
          Effect.forEach(ids, (id) => put({ threadId, checkpoint: checkpoint(id) }), { concurrency: "unbounded" }),
          Effect.forEach(ids, (id) => put({ threadId: `${threadId} ${id}`, checkpoint: checkpoint(id) }), {
            concurrency: "unbounded"
          })
        ],
        { concurrency: "unbounded" }
      )
      expect(error).toMatchObject({ _tag: "LeaseLost" })
      expect(yield* listIds({ threadId })).toHaveLength(30)
    })
  )

  live(
    "a lease that is over and that nobody has taken over still lets its holder write and go on",
    Effect.gen(function* () {
      const threadId = yield* Checkpoint.makeId
      const goOn = yield* Deferred.make<void>()
      const late = yield* stopped(
        threadId,
        Effect.zipRight(Deferred.await(goOn), put({ threadId, checkpoint: checkpoint("1") }))
      )
      const untilItsMillisecondIsOver = Effect.sleep(3)
      yield* untilItsMillisecondIsOver
      yield* Deferred.succeed(goOn, undefined)
      yield* Fiber.join(late.fiber)
      expect(yield* listIds({ threadId })).toEqual(["1"])
    })
  )

  live(
    "an effect whose lease was taken over is interrupted, and fails with that",
    Effect.gen(function* () {
      const threadId = yield* Checkpoint.makeId
      let finalized = false
      const late = yield* stopped(
        threadId,
        Effect.onInterrupt(Effect.never, () => Effect.sync(() => (finalized = true)))
      )
      yield* takeOver(threadId, Effect.void)
      yield* late.wake
      const exit = yield* Fiber.await(late.fiber)
      const error = Exit.isFailure(exit) ? Option.getOrThrow(Cause.failureOption(exit.cause)) : undefined
      expect(error).toMatchObject({ _tag: "LeaseLost", threadId, token: late.token, reason: "TakenOver" })
      expect(error?.message).toContain("somebody else has taken the lock")
      expect(finalized).toBe(true)
    })
  )

  live(
    "a lock is the fiber's and its children's: in it, a further one of the same thread runs under the same lease",
    Effect.gen(function* () {
      const threadId = yield* Checkpoint.makeId
      yield* withLock(
        threadId,
        Effect.gen(function* () {
          const outer = yield* token
          const inner = withLock(threadId, Effect.zipLeft(token, put({ threadId, checkpoint: checkpoint("1") })))
          expect(yield* inner).toBe(outer)
          expect(yield* Effect.flatMap(Effect.fork(inner), Fiber.join)).toBe(outer)
          // The end of the inner one was not the end of the lease.
          expect(yield* inner).toBe(outer)
          // A lock of another thread in between is not in the way.
          expect(yield* withLock(`${threadId} other`, inner)).toBe(outer)
        })
      )
    })
  )

  live(
    "nothing is written under a lease after its end, by fibers that have outlived it",
    Effect.gen(function* () {
      const threadId = yield* Checkpoint.makeId
      const goOn = yield* Deferred.make<void>()
      const outlives = Effect.gen(function* () {
        yield* Deferred.await(goOn)
        const error = yield* Effect.flip(put({ threadId, checkpoint: checkpoint("1") }))
        // It may ask for a lease of its own, as everybody.
        const own = yield* withLock(threadId, Effect.zipLeft(token, put({ threadId, checkpoint: checkpoint("2") })))
        return { error, own }
      })
      const [first, fiber] = yield* withLock(threadId, Effect.all([token, Effect.forkDaemon(outlives)]))
      yield* Deferred.succeed(goOn, undefined)
      const { error, own } = yield* Fiber.join(fiber)
      expect(error).toMatchObject({ _tag: "LeaseLost", threadId, token: first, reason: "Released" })
      expect(own).toBeGreaterThan(first)
      expect(yield* listIds({ threadId })).toEqual(["2"])
    })
  )

  live(
    "a thread can be deleted, pruned and begun anew under its lock, which outlasts it",
    Effect.gen(function* () {
      const checkpointer = yield* Checkpointer.Checkpointer
      const threadId = yield* Checkpoint.makeId
      yield* withLock(
        threadId,
        Effect.gen(function* () {
          yield* put({ threadId, checkpoint: checkpoint("1"), expectHead: null })
          yield* put({ threadId, checkpoint: checkpoint("2"), expectHead: "1" })
          expect(yield* checkpointer.prune({ threadId })).toMatchObject({ checkpoints: 1 })
          yield* deleteThread(threadId)
          yield* commit({ threadId, checkpoint: checkpoint("3"), writes: [{ taskId: "t", writes: w }] })
          yield* putWrites({ threadId, checkpointId: "3", taskId: "u", writes: w })
        })
      )
      expect(yield* listIds({ threadId })).toEqual(["3"])
      expect((yield* getSome({ threadId })).pendingWrites).toHaveLength(2)
    })
  )

  live(
    "a lock of an id that can't be stored is refused, and so is a lease without an end",
    Effect.gen(function* () {
      const flipped = (threadId: string, options?: ThreadLock.Options) =>
        Effect.flip(withLock(threadId, Effect.void, options))
      expect(yield* flipped("")).toMatchObject({ _tag: "InvalidIdentifier", field: "threadId", reason: "Empty" })
      expect(yield* flipped("a\0b")).toMatchObject({ _tag: "InvalidIdentifier", field: "threadId", reason: "Nul" })
      expect(yield* flipped("a", { holder: "a\0b" })).toMatchObject({ _tag: "InvalidIdentifier", field: "holder" })
      for (const lease of [0, Number.POSITIVE_INFINITY]) {
        const exit = yield* Effect.exit(withLock("a", Effect.void, { lease }))
        expect(Exit.isFailure(exit) && Option.getOrThrow(Cause.dieOption(exit.cause))).toBeInstanceOf(RangeError)
      }
    })
  )
}
