/**
 * Writers in another process, server and writers killed at random moments: whatever was acknowledged is there and whole,
 * and nothing is there by half.
 *
 * `CRASH_ROUNDS=100 npx vitest run --config test/vitest.config.ts packages/checkpoint/test/crash.test.ts`
 * makes it more rounds; `CRASH_SEED=17` draws the same moments again.
 */
import * as NodePath from "node:path"
import { SqlCheckpointer } from "@checkpool/checkpoint"
import { EmbeddedPostgres } from "@checkpool/embedded"
import { PgPool } from "@checkpool/pg"
import { SqlClient } from "@effect/sql"
import { expect, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import * as Ledger from "./crash/ledger.ts"
import * as Workers from "./crash/workers.ts"
import { fromSeed } from "./lanes/random.ts"

const { rounds, seed } = Workers.settings(10)

it.scopedLive(
  `of what was acknowledged nothing is lost, and nothing is stored by half, in ${rounds} crashes`,
  () =>
    Effect.gen(function* () {
      const random = fromSeed(seed)
      const path = yield* Workers.folder
      const server = yield* EmbeddedPostgres.make()
      const pool = PgPool.layer({ url: server.url, maxConnections: 4, minConnections: 1 })
      const Live = SqlCheckpointer.layer().pipe(Layer.provideMerge(pool))
      yield* Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        for (const setting of ["fsync", "synchronous_commit", "full_page_writes"]) {
          expect([setting, (yield* sql`SELECT current_setting(${setting}) AS on`)[0]!.on]).toEqual([setting, "on"])
        }
      }).pipe(Effect.provide(Live))

      const ledgers: Array<readonly [round: string, ledger: string]> = []
      let total = 0
      for (let n = 0; n < rounds; n++) {
        const [round, ledger] = [`r${n}`, NodePath.join(path, `r${n}`)]
        ledgers.push([round, ledger])
        yield* Effect.scoped(
          Effect.gen(function* () {
            const writers = [yield* Workers.start("writers.mjs", server, ledger, round, { CRASH_WRITERS: "24" })]
            yield* Workers.progress(writers)
            yield* Effect.sleep(random.between(0, 300))
            yield* Workers.crash(random, server, writers)
          })
        )
        yield* server.start
        // What earlier rounds have left must survive the later crashes, too.
        const looked = n === rounds - 1 ? ledgers : ledgers.slice(-2)
        const findings = yield* Effect.forEach(looked, ([round, ledger]) =>
          Ledger.verify(Ledger.read(ledger), round)
        ).pipe(Effect.provide(Live))
        for (const { half, lost } of findings)
          expect({ round, seed, half, lost }).toEqual({ round, seed, half: [], lost: [] })
        total += findings.at(-1)!.acknowledged
      }
      console.log(`crash test: ${rounds} rounds (CRASH_SEED=${seed}), ${total} acknowledged, 0 lost, 0 by half`)
      expect(total).toBeGreaterThan(rounds * 10)
    }),
  { timeout: 60_000 + rounds * 60_000 }
)
