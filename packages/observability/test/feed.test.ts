import { Pools } from "@checkpool/observability"
import { Pool, PoolEvent } from "@checkpool/pool"
import { expect, it } from "@effect/vitest"
import { Chunk, Effect, Stream, TestClock } from "effect"
import * as Feed from "../src/internal/feed.ts"
import { describe } from "../src/internal/happening.ts"

/** What somebody is told who comes now. */
const first = ({ messages }: Feed.Feed) =>
  Effect.map(Stream.runCollect(Stream.take(messages, 1)), (chunk) => Chunk.unsafeHead(chunk))

it.scoped("events of a kind that come together are one entry, and no more than a hundred are kept", () =>
  Effect.gen(function* () {
    const pool = yield* Pool.make({ name: "resized", acquire: Effect.succeed({}), max: 1, start: "lazy" })
    const pools = yield* Pools.make
    yield* pools.add(pool)
    const feed = yield* Feed.make(pools, 500)
    const resize = (max: number) => Effect.zipRight(pool.resize({ max }), Effect.repeatN(Effect.yieldNow(), 50))
    for (const max of [2, 3]) yield* resize(max)
    expect((yield* first(feed)).happenings).toMatchObject([{ what: "Resized", why: "to 0–3", times: 2 }])
    for (let max = 4; max < 110; max++) {
      yield* TestClock.adjust("2 seconds")
      yield* resize(max)
    }
    const { happenings } = yield* first(feed)
    expect([happenings.length, happenings.at(-1)?.why]).toEqual([100, "to 0–109"])
  })
)

it("errors are told by their codes, and never by their messages", () => {
  const error = Object.assign(new Error('no user "secret"'), { code: "28P01" })
  const failed = { pool: "a", failures: 1, retryIn: 500, total: 0, lasted: 1000 }
  for (const cause of [error, { cause: error }, new Error("secret"), "secret"]) {
    for (const event of [
      PoolEvent.PoolEvent.ConnectFailed({ ...failed, error: cause }),
      PoolEvent.PoolEvent.AtCapacity({ ...failed, error: cause }),
      PoolEvent.PoolEvent.Unavailable({ ...failed, error: cause }),
      PoolEvent.PoolEvent.Closed({
        pool: "a",
        id: 1,
        reason: "invalidated",
        detail: cause,
        age: 1,
        uses: 1,
        timedOut: false
      })
    ]) {
      expect(describe(event).why).not.toContain("secret")
    }
  }
  expect(describe(PoolEvent.PoolEvent.ConnectFailed({ ...failed, error })).why).toContain("SQLSTATE 28P01")
})
