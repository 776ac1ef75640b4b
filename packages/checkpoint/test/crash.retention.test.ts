/**
 * Processes that put, prune and run retention on the same threads, killed at random moments, the server too: whatever had
 * to stay is there and whole, and whatever had to go goes, if not at once then by a later pass.
 *
 * `CRASH_ROUNDS=100 npx vitest run --config test/vitest.config.ts packages/checkpoint/test/crash.retention.test.ts`
 * makes it more rounds; `CRASH_SEED=17` draws the same moments again.
 */
import * as NodePath from "node:path"
import { SqlCheckpointer } from "@checkpool/checkpoint"
import { EmbeddedPostgres } from "@checkpool/embedded"
import { PgPool } from "@checkpool/pg"
import { expect, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import * as Keeping from "./crash/keeping.ts"
import * as Ledger from "./crash/ledger.ts"
import * as Workers from "./crash/workers.ts"
import { fromSeed } from "./lanes/random.ts"

const { rounds, seed } = Workers.settings(2)

it.scopedLive(
  `what prune and retention have to keep is there and whole, and nothing else stays, after ${rounds} crashes`,
  () =>
    Effect.gen(function* () {
      const random = fromSeed(seed)
      const path = yield* Workers.folder
      const server = yield* EmbeddedPostgres.make()
      const pool = PgPool.layer({ url: server.url, maxConnections: 4, minConnections: 1 })
      const Live = SqlCheckpointer.layer().pipe(Layer.provideMerge(pool))
      yield* Layer.build(Live)

      const sums = { put: 0, writes: 0, prune: 0, retain: 0, expire: 0, failed: 0 }
      for (let n = 0; n < rounds; n++) {
        const round = `r${n}`
        const keepLast = random.pick([1, 2, 3])
        const ledgers = ["p", "q"].map((name) => [name, NodePath.join(path, round + name)] as const)
        yield* Effect.scoped(
          Effect.gen(function* () {
            const workers = yield* Effect.forEach(ledgers, ([name, ledger]) =>
              Workers.start("keepers.mjs", server, ledger, round, { CRASH_KEEP: `${keepLast}`, CRASH_NAME: name })
            )
            yield* Workers.progress(workers, ["put", "retain"])
            yield* Effect.sleep(random.between(0, 300))
            yield* Workers.crash(random, server, workers, ["put", "retain"])
          })
        )
        yield* server.start
        const lines = ledgers.flatMap(([, ledger]) => Ledger.read(ledger))
        for (const { kind } of lines) sums[kind]++
        const findings = yield* Effect.all({
          before: Keeping.verify(lines, round, keepLast),
          undone: Keeping.cleanUp(round, keepLast),
          after: Keeping.verify(lines, round, keepLast),
          leftOver: Keeping.leftOver(round, keepLast)
        }).pipe(Effect.provide(Live))
        const nothing = { lost: [], half: [], refused: [] }
        expect({ seed, n, ...findings }).toMatchObject({
          seed,
          n,
          before: nothing,
          undone: [],
          after: nothing,
          leftOver: []
        })
        expect(findings.after.found).toBeGreaterThan(0)
      }
      console.log(`crash test: ${rounds} rounds (CRASH_SEED=${seed}), ${JSON.stringify(sums)}`)
    }),
  { timeout: 60_000 + rounds * 60_000 }
)
