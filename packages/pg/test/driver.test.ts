/**
 * What `internal/driver` takes for granted of the insides of `pg` and `pg-cursor`. If a new version of them fails here,
 * see whether the driver still does what it says before the versions below are raised.
 */
import { readFileSync } from "node:fs"
import { createRequire } from "node:module"
import { EmbeddedPostgres } from "@checkpool/embedded"
import { describe, expect, it, layer } from "@effect/vitest"
import { Effect, Fiber, Redacted } from "effect"
import * as Pg from "pg"
import Cursor from "pg-cursor"
import * as Driver from "../src/internal/driver.ts"
import { ServerLive } from "./server.ts"

const require = createRequire(import.meta.url)
const versionOf = (name: string): string => {
  const main = require.resolve(name)
  const root = main.slice(0, main.lastIndexOf(`/node_modules/${name}/`) + `/node_modules/${name}/`.length)
  return JSON.parse(readFileSync(`${root}package.json`, "utf8")).version
}

/** A client that is connected, with its insides. */
const connected = Effect.flatMap(EmbeddedPostgres.EmbeddedPostgres, ({ url }) =>
  Effect.acquireRelease(
    Effect.gen(function* () {
      const client = new Pg.Client({ connectionString: Redacted.value(url) })
      yield* Driver.connect(client)
      return client
    }),
    Driver.end
  )
)

const query = (client: Pg.Client, text: string, options: Parameters<typeof Driver.query>[2] = {}) =>
  Effect.async<Pg.QueryResult, Error>((resume) =>
    Driver.query(client, { text }, options, (error, result) =>
      resume(error ? Effect.fail(error) : Effect.succeed(result))
    )
  )

describe("the driver's insides", () => {
  it("were looked at in these versions", () => {
    expect([versionOf("pg"), versionOf("pg-cursor")]).toEqual(["8.23.1", "2.22.0"])
  })
})

layer(ServerLive, { excludeTestServices: true, timeout: "60 seconds" })("the driver", (it) => {
  it.scoped("is busy from sending to the answer, and ready after it", () =>
    Effect.gen(function* () {
      const client = yield* connected
      expect([Driver.isBusy(client), Driver.isReady(client)]).toEqual([false, true])
      const seen: Array<boolean> = []
      Driver.query(client, { text: "SELECT 1 / 0" }, {}, () => seen.push(Driver.isReady(client)))
      expect([Driver.isBusy(client), Driver.isReady(client)]).toEqual([true, false])
      yield* Effect.async<void>((resume) => Driver.whenQuiet(client, () => resume(Effect.void)))
      // An error is told before the server is ready again.
      expect(seen).toEqual([false])
      expect([Driver.isBusy(client), Driver.isReady(client)]).toEqual([false, true])
      expect(client.getTransactionStatus()).toBe("I")
    })
  )

  it.scoped("keeps the names of what was prepared, which can be closed and forgotten", () =>
    Effect.gen(function* () {
      const client = yield* connected
      const { connection } = client as unknown as { connection: { parsedStatements: Record<string, string> } }
      const held = Effect.map(query(client, "SELECT name FROM pg_prepared_statements"), ({ rows }) => rows)
      yield* query(client, "SELECT 1", { name: "one" })
      yield* query(client, "SELECT 2", { name: "two" })
      expect(connection.parsedStatements).toEqual({ one: "SELECT 1", two: "SELECT 2" })
      Driver.closeStatements(client, ["one"])
      expect(yield* held).toEqual([{ name: "two" }])
      Driver.forgetStatements(client)
      expect(connection.parsedStatements).toEqual({})
    })
  )

  it.scoped("has the columns of what is prepared described once, as long as it is prepared", () =>
    Effect.gen(function* () {
      const client = yield* connected
      const { connection } = client as unknown as { connection: NodeJS.EventEmitter }
      let described = 0
      connection.on("rowDescription", () => described++)
      connection.on("noData", () => described++)
      const ask = (text: string, rowMode?: "array") =>
        Effect.async<unknown, Error>((resume) =>
          Driver.query(client, { text, rowMode, values: ["1"] }, { name: text }, (error, { rows, fields, command }) =>
            resume(error ? Effect.fail(error) : Effect.succeed([rows, fields.map(({ name }) => name), command]))
          )
        )
      const select = "SELECT $1::int AS one, 'two' AS two"
      const change = "UPDATE pg_description SET description = $1 WHERE false"
      for (let i = 0; i < 3; i++) {
        expect(yield* ask(select)).toEqual([[{ one: 1, two: "two" }], ["one", "two"], "SELECT"])
        expect(yield* ask(select, "array")).toEqual([[[1, "two"]], ["one", "two"], "SELECT"])
        expect(yield* ask(change)).toEqual([[], [], "UPDATE"])
      }
      // How a type is parsed is looked up each time, all the same.
      client.setTypeParser(Pg.types.builtins.INT4, (text) => `int ${text}`)
      expect(yield* ask(select)).toEqual([[{ one: "int 1", two: "two" }], ["one", "two"], "SELECT"])
      expect(yield* ask(select, "array")).toEqual([[["int 1", "two"]], ["one", "two"], "SELECT"])
      client.setTypeParser(Pg.types.builtins.INT4, Number)
      expect(described).toBe(2)
      Driver.closeStatements(client, [select])
      yield* ask(select)
      yield* ask(select)
      expect(described).toBe(3)
      // Closed while it runs: what is known of it then holds for the next one of that name.
      const running = yield* Effect.fork(ask(select))
      yield* Effect.yieldNow()
      Driver.closeStatements(client, [select])
      yield* Fiber.join(running)
      for (let i = 0; i < 3; i++)
        expect(yield* ask(select)).toEqual([[{ one: 1, two: "two" }], ["one", "two"], "SELECT"])
      // What failed before its columns were known has them described the next time.
      const fail = "SELECT 1 / $1::int AS one"
      yield* Effect.flip(
        Effect.async<void, Error>((resume) =>
          Driver.query(client, { text: fail, values: ["0"] }, { name: fail }, (error) =>
            resume(error ? Effect.fail(error) : Effect.void)
          )
        )
      )
      expect(yield* ask(fail)).toEqual([[{ one: 1 }], ["one"], "SELECT"])
      expect(yield* ask(fail)).toEqual([[{ one: 1 }], ["one"], "SELECT"])
    })
  )

  it.scoped("gives a query up after its own timeout, with an error that is known by its message", () =>
    Effect.gen(function* () {
      const client = yield* connected
      const error = yield* Effect.flip(query(client, "SELECT pg_sleep(3600)", { timeout: 20 }))
      expect([Driver.isQueryTimeout(error), Driver.isConnectionError(error)]).toEqual([true, true])
      expect(Driver.isBusy(client)).toBe(true)
      const quiet = Effect.async<void>((resume) => Driver.whenQuiet(client, () => resume(Effect.void)))
      yield* Effect.all([quiet, Driver.cancel(client)], { concurrency: 2 })
      expect((yield* query(client, "SELECT 1 AS one")).rows).toEqual([{ one: 1 }])
    })
  )

  it.scoped("knows its process and key, and what a connection that is cut fails with", () =>
    Effect.gen(function* () {
      const client = yield* connected
      client.on("error", () => {})
      expect(Driver.processId(client)).toBe((yield* query(client, "SELECT pg_backend_pid() AS pid")).rows[0]?.pid)
      expect((client as unknown as { secretKey: unknown }).secretKey).toBeTypeOf("number")
      const sleeping = Effect.async<Error>((resume) => {
        Driver.query(client, { text: "SELECT pg_sleep(3600)" }, {}, (error) =>
          resume(error ? Effect.succeed(error) : Effect.die("not cut"))
        )
        Driver.cut(client)
      })
      expect(Driver.isConnectionError(yield* sleeping)).toBe(true)
      expect(Driver.isOpen(client)).toBe(false)
      const late = yield* Effect.flip(query(client, "SELECT 1"))
      expect(Driver.isConnectionError(late)).toBe(true)
    })
  )

  it.scoped("reads cursors in pieces, with and without the server's time limit, and closes them in any state", () =>
    Effect.gen(function* () {
      const client = yield* connected
      yield* query(client, "SET statement_timeout = '1h'")
      for (const limited of [true, false]) {
        const open = (text: string) => Driver.openCursor(client, text, [], limited)
        const read = (cursor: Cursor, n: number) =>
          Effect.async<ReadonlyArray<Record<string, unknown>>, Error>((resume) =>
            cursor.read(n, (error, rows) => resume(error ? Effect.fail(error) : Effect.succeed(rows)))
          )
        const close = (cursor: Cursor) =>
          Effect.async<void>((resume) => Driver.closeCursor(client, cursor, () => resume(Effect.void)))
        const cursor = open("SELECT n, current_setting('statement_timeout') AS t FROM generate_series(1, 3) AS n")
        expect(cursor).toBeInstanceOf(Cursor)
        const t = limited ? "0" : "1h"
        expect(yield* read(cursor, 2)).toEqual([
          { n: 1, t },
          { n: 2, t }
        ])
        yield* close(cursor)
        const failing = open("SELECT 1 / (2 - n) FROM generate_series(1, 3) AS n")
        yield* read(failing, 1)
        const error = yield* Effect.flip(read(failing, 1))
        expect(error).toMatchObject({ code: "22012" })
        expect((failing as unknown as { state: string }).state).toBe("error")
        yield* Effect.async<void>((resume) => Driver.whenQuiet(client, () => resume(Effect.void)))
        expect((yield* query(client, "SHOW statement_timeout")).rows).toEqual([{ statement_timeout: "1h" }])
      }
    })
  )
})
