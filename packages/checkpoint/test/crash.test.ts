/**
 * Writers in another process, server and writers killed at random moments: whatever was acknowledged is there and whole,
 * and nothing is there by half.
 *
 * `CRASH_ROUNDS=100 npx vitest run --config test/vitest.config.ts packages/checkpoint/test/crash.test.ts`
 * makes it more rounds; `CRASH_SEED=17` draws the same moments again.
 */
import { type ChildProcess, spawn } from "node:child_process"
import { once } from "node:events"
import * as NodeFs from "node:fs"
import * as NodeOs from "node:os"
import * as NodePath from "node:path"
import { fileURLToPath } from "node:url"
import { SqlCheckpointer } from "@checkpool/checkpoint"
import { EmbeddedPostgres } from "@checkpool/embedded"
import { PgPool } from "@checkpool/pg"
import { SqlClient } from "@effect/sql"
import { expect, it } from "@effect/vitest"
import { Effect, Layer, Redacted, Schedule } from "effect"
import * as Ledger from "./crash/ledger.ts"
import { fromSeed, type Random } from "./lanes/random.ts"

const rounds = Number(process.env.CRASH_ROUNDS ?? 10)
const seed = Number(process.env.CRASH_SEED ?? Math.floor(performance.now() * 1000) % 1_000_000)
const program = fileURLToPath(new URL("./fixtures/writers.mjs", import.meta.url))

const folder = Effect.acquireRelease(
  Effect.sync(() => NodeFs.mkdtempSync(NodePath.join(NodeOs.tmpdir(), "crash-"))),
  (path) => Effect.sync(() => NodeFs.rmSync(path, { recursive: true }))
)

const startWriters = (url: string, ledger: string, round: string) =>
  Effect.acquireRelease(
    Effect.sync(() => {
      NodeFs.writeFileSync(ledger, "")
      return spawn(process.execPath, [program], {
        env: { ...process.env, CRASH_LEDGER: ledger, CRASH_ROUND: round, CRASH_URL: url, CRASH_WRITERS: "24" },
        stdio: ["pipe", "ignore", "inherit"]
      })
    }),
    killWriters
  )

const killWriters = (writers: ChildProcess) =>
  Effect.promise(async () => {
    if (writers.exitCode !== null || writers.signalCode !== null) return
    writers.kill("SIGKILL")
    await once(writers, "exit")
  })

/** Until the writers were told that more is done. */
const progress = (ledger: string, writers: ChildProcess) => {
  const before = NodeFs.statSync(ledger).size
  return Effect.suspend(() => {
    if (writers.exitCode !== null) return Effect.dieMessage("the writers have ended by themselves")
    return Effect.succeed(NodeFs.statSync(ledger).size > before)
  }).pipe(
    Effect.repeat({ until: (more) => more, schedule: Schedule.spaced("2 millis") }),
    Effect.timeoutFail({ duration: "40 seconds", onTimeout: () => new Error("the writers get nowhere") })
  )
}

const ways = ["server", "writers", "server first", "writers first", "server, and again"] as const

const crash = (
  random: Random,
  server: EmbeddedPostgres.Service,
  writers: ChildProcess,
  ledger: string
): Effect.Effect<void, unknown> => {
  const moment = (most: number) => Effect.sleep(random.between(0, most))
  switch (random.pick(ways)) {
    case "server":
      // The writers go on, with another server under them, and are killed later.
      return Effect.all([
        server.kill,
        server.start,
        progress(ledger, writers),
        moment(100),
        killWriters(writers),
        server.kill
      ])
    case "writers":
      return killWriters(writers)
    case "server first":
      return Effect.all([server.kill, moment(30), killWriters(writers)])
    case "writers first":
      return Effect.all([killWriters(writers), moment(5), server.kill])
    case "server, and again":
      // In the middle of the recovery, or right after it.
      return Effect.all([
        server.kill,
        Effect.raceFirst(server.start, moment(300)),
        server.kill,
        moment(30),
        killWriters(writers)
      ])
  }
}

it.scopedLive(
  `of what was acknowledged nothing is lost, and nothing is stored by half, in ${rounds} crashes`,
  () =>
    Effect.gen(function* () {
      const random = fromSeed(seed)
      const path = yield* folder
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
            const writers = yield* startWriters(Redacted.value(server.url), ledger, round)
            yield* progress(ledger, writers)
            yield* Effect.sleep(random.between(0, 300))
            yield* crash(random, server, writers, ledger)
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
