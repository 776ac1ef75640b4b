import * as NodeDgram from "node:dgram"
import { EmbeddedPostgres } from "@checkpool/embedded"
import { PgPool } from "@checkpool/pg"
import type { SqlClient } from "@effect/sql"
import { expect, layer } from "@effect/vitest"
import { Cause, Effect, Exit, Redacted, Scope } from "effect"
import pg from "pg"
import { answers } from "./onRelay.ts"
import { ordeal } from "./ordeal.ts"
import { ServerLive } from "./servers.ts"

type Needs = PgPool.PgPool | SqlClient.SqlClient | EmbeddedPostgres.EmbeddedPostgres | Scope.Scope

/** Leaves something behind; the scope takes it away after the ordeal has judged. */
type Misdeed = Effect.Effect<unknown, unknown, Needs>

const session = Effect.flatMap(EmbeddedPostgres.EmbeddedPostgres, ({ url }) =>
  Effect.acquireRelease(
    Effect.promise(async () => {
      const client = new pg.Client({ connectionString: Redacted.value(url), application_name: "a stranger" })
      await client.connect()
      return client
    }),
    (client) => Effect.promise(() => client.end())
  )
)

const misdeeds: ReadonlyArray<readonly [left: string, misdeed: Misdeed, verdict: RegExp]> = [
  [
    "a timer",
    Effect.acquireRelease(
      Effect.sync(() => setTimeout(() => {}, 60_000)),
      (timer) => Effect.sync(() => clearTimeout(timer))
    ),
    /still {"timers":\[60000\]}/
  ],
  [
    "a socket",
    Effect.acquireRelease(
      Effect.sync(() => NodeDgram.createSocket("udp4").bind()),
      (socket) => Effect.sync(() => socket.close())
    ),
    /still {"timers":\[\],"UDPWrap":1}/
  ],
  ["a lease", Effect.flatMap(PgPool.PgPool, (pool) => pool.get), /still {.*"leased":1/],
  ["a session", session, /still 1/],
  [
    "one session too many, for a moment",
    Effect.zipRight(answers, Effect.scoped(session)),
    /connections that the server counted at once: expected 2 to be less than or equal to 1/
  ]
]

layer(ServerLive, { excludeTestServices: true, timeout: "60 seconds" })("an ordeal", (it) => {
  it.effect("passes where nothing is left", () => ordeal("nothing", { maxConnections: 1 }, () => answers))

  for (const [left, misdeed, verdict] of misdeeds) {
    it.scoped(`fails where there is left: ${left}`, () =>
      Effect.gen(function* () {
        const scope = yield* Effect.scope
        const exit = yield* Effect.exit(
          ordeal("a misdeed", { maxConnections: 1, patience: "300 millis" }, () => Scope.extend(misdeed, scope))
        )
        expect(Exit.isFailure(exit) ? Cause.pretty(exit.cause) : "nothing").toMatch(verdict)
      })
    )
  }
})
