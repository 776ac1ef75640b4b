import type { TcpRelay } from "@checkpool/embedded"
import { PgPool } from "@checkpool/pg"
import { SqlClient } from "@effect/sql"
import { expect, layer } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { eventually } from "./eventually.ts"
import { answers, onRelay } from "./onRelay.ts"
import { ServerLive } from "./servers.ts"
import type { Watch } from "./watch.ts"

/** Ends the connection of a COMMIT that the server is at work on. */
type Cut = (watch: Watch, relay: TcpRelay.TcpRelay) => Effect.Effect<unknown>

const ways: ReadonlyArray<readonly [how: string, committed: boolean, cut: Cut]> = [
  ["the network resets it", true, (_, relay) => relay.cut],
  ["the network ends it", true, (_, relay) => relay.halfClose("client")],
  ["the server ends it", false, (watch) => watch.outside.terminateAll]
]

layer(ServerLive, { excludeTestServices: true, timeout: "60 seconds" })(
  "a connection that is lost in the middle of a COMMIT",
  (it) => {
    for (const [how, committed, cut] of ways) {
      it.scoped(`${how}: the caller is told so, and not that it was committed or rolled back`, () =>
        onRelay(`COMMIT: ${how}`, { maxConnections: 1, torn: 1 }, (watch, relay) =>
          Effect.gen(function* () {
            const pool = yield* PgPool.PgPool
            const sql = yield* SqlClient.SqlClient
            const { outside } = watch
            yield* outside.query("DROP TABLE IF EXISTS slow")
            yield* outside.query("CREATE TABLE slow (a int)")
            // The COMMIT itself takes its time.
            yield* outside.query(`CREATE OR REPLACE FUNCTION take_time() RETURNS trigger LANGUAGE plpgsql AS
            'BEGIN PERFORM pg_sleep(0.5); RETURN NULL; END'`)
            yield* outside.query(`CREATE CONSTRAINT TRIGGER slowly AFTER INSERT ON slow
            DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION take_time()`)
            const fiber = yield* Effect.fork(sql.withTransaction(sql`INSERT INTO slow VALUES (1)`))
            yield* eventually(outside.running("COMMIT"), (n) => n === 1)
            yield* Effect.zipRight(cut(watch, relay), watch.mended)
            const error = yield* Effect.flip(Fiber.join(fiber))
            expect(error._tag).toBe("SqlError")
            expect(PgPool.isTransient(error)).toBe(true)
            yield* answers
            yield* watch.works
            expect(yield* pool.stats).toMatchObject({ opened: 2, closed: 1, timedOut: 0, rejected: 0 })
            // What nobody could know: a server that was not told of the loss has gone through with it.
            yield* eventually(outside.running("COMMIT"), (n) => n === 0)
            expect(yield* outside.query("SELECT a FROM slow")).toEqual(committed ? [{ a: 1 }] : [])
            yield* watch.report({ failures: 1 })
          })
        )
      )
    }
  }
)
