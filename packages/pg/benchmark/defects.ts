/**
 * What `@effect/sql-pg` does where ours differs, side by side: each line runs the same program on both.
 *
 *     npx tsc -b packages/pg/benchmark && node packages/pg/benchmark/dist/defects.js
 */
import { EmbeddedPostgres } from "@checkpool/embedded"
import { PgPool } from "@checkpool/pg"
import { SqlClient, type SqlError } from "@effect/sql"
import { PgClient } from "@effect/sql-pg"
import { Cause, Duration, Effect, Exit, Fiber, type Layer, Option, Stream } from "effect"

type Client = PgClient.PgClient | SqlClient.SqlClient
type Program = Effect.Effect<string, unknown, Client>

interface Options {
  readonly maxConnections: number
  readonly connectTimeout?: Duration.DurationInput
}

interface Side {
  readonly layer: (options: Options) => Layer.Layer<Client, SqlError.SqlError>
}

/** How long a wait is taken for one that has no end. */
const patience = "2 seconds"

const told = (exit: Exit.Exit<unknown, unknown>): string =>
  Exit.match(exit, {
    onSuccess: () => "success",
    onFailure: (cause) => {
      const error = Option.getOrUndefined(Cause.failureOption(cause))
      if (error === undefined) return Cause.isDie(cause) ? "a defect" : "interrupted"
      const inner = (error as { cause?: { _tag?: string; code?: string; message?: string } }).cause
      return `${(error as { _tag: string })._tag}, cause ${inner?._tag ?? inner?.code ?? `"${inner?.message}"`}`
    }
  })

const milliseconds = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.map(Effect.timed(effect), ([took]) => `${Math.round(Duration.toMillis(took))} ms`)

const nextStatement = Effect.flatMap(SqlClient.SqlClient, (sql) =>
  sql`SELECT 1`.pipe(
    Effect.as("the next statement runs"),
    Effect.timeoutTo({
      duration: patience,
      onSuccess: (ran) => ran,
      onTimeout: () => `the next statement waits, for ${Duration.format(patience)} and longer`
    })
  )
)

const failedCommit: Program = Effect.gen(function* () {
  const sql = yield* SqlClient.SqlClient
  yield* sql`CREATE TABLE IF NOT EXISTS late (id int UNIQUE DEFERRABLE INITIALLY DEFERRED)`
  return told(yield* Effect.exit(sql.withTransaction(sql`INSERT INTO late VALUES (1), (1)`)))
})

const answeredWithRollback: Program = Effect.gen(function* () {
  const sql = yield* SqlClient.SqlClient
  yield* sql`CREATE TABLE IF NOT EXISTS kept (id int)`
  yield* sql`TRUNCATE kept`
  const exit = yield* Effect.exit(
    sql.withTransaction(Effect.zipRight(sql`INSERT INTO kept VALUES (1)`, Effect.ignore(sql`SELECT 1 / 0`)))
  )
  return `${told(exit)}, with ${(yield* sql`SELECT 1 FROM kept`).length} rows kept`
})

/** Holds the only connection and lets another fiber wait for it, then interrupts that one. */
const interruptedWait = (waits: (sql: SqlClient.SqlClient) => Effect.Effect<unknown, unknown>): Program =>
  Effect.gen(function* () {
    const sql = yield* SqlClient.SqlClient
    const ended = yield* Effect.scoped(
      Effect.gen(function* () {
        yield* sql.reserve
        const waiting = yield* Effect.fork(waits(sql))
        yield* Effect.sleep("50 millis")
        return yield* Fiber.interruptFork(waiting).pipe(
          Effect.zipRight(milliseconds(Fiber.await(waiting))),
          Effect.timeoutTo({
            duration: patience,
            onSuccess: (took) => `interrupted within ${took}`,
            onTimeout: () => "can't be interrupted"
          })
        )
      })
    )
    return `${ended}; ${yield* nextStatement}`
  })

const interruptedStatement: Program = Effect.gen(function* () {
  const sql = yield* SqlClient.SqlClient
  const running = yield* Effect.fork(sql`SELECT pg_sleep(8)`)
  yield* Effect.sleep("50 millis")
  const took = yield* milliseconds(Fiber.interrupt(running))
  return `the interrupt takes ${took}; ${yield* nextStatement}`
})

const listening: Program = Effect.gen(function* () {
  const sql = yield* PgClient.PgClient
  const heard: Array<string> = []
  const notify = (payload: string) =>
    Effect.zipRight(sql`SELECT pg_notify('news', ${payload})`, Effect.sleep("300 millis"))
  const listener = yield* Effect.fork(
    Stream.runForEach(sql.listen("news"), (payload) => Effect.sync(() => heard.push(`"${payload}"`)))
  )
  yield* Effect.sleep("300 millis")
  yield* notify("one")
  yield* notify("")
  yield* sql`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query = 'LISTEN "news"'`
  yield* Effect.sleep("1 second")
  yield* notify("after the loss")
  yield* Fiber.interruptFork(listener)
  return `hears ${heard.join(", ")}`
})

const saturated: Program = Effect.gen(function* () {
  const sql = yield* SqlClient.SqlClient
  return yield* Effect.scoped(
    Effect.zipRight(
      sql.reserve,
      sql`SELECT 1`.pipe(
        Effect.exit,
        Effect.map(told),
        Effect.timeoutTo({ duration: patience, onSuccess: (how) => how, onTimeout: () => "waits on" })
      )
    )
  )
})

const notified: Program = Effect.flatMap(PgClient.PgClient, (sql) =>
  Effect.map(Effect.exit(sql.notify("news", "hello")), told)
)

/** One program, what it ought to come to, and the pool that it needs. */
interface Line {
  readonly title: string
  readonly wanted: string
  readonly program: Program
  readonly options?: Options
}

const lines: ReadonlyArray<Line> = [
  {
    title: "1  A COMMIT fails (a deferred constraint)",
    wanted: "a typed error",
    program: failedCommit
  },
  {
    title: "   The server answers COMMIT with ROLLBACK, since a statement had failed",
    wanted: "no success",
    program: answeredWithRollback
  },
  {
    title: "   A transaction is interrupted while it waits for a connection",
    wanted: "an interrupt at once",
    program: interruptedWait((sql) => sql.withTransaction(sql`SELECT 1`))
  },
  {
    title: "2  `reserve` is interrupted while it waits for a connection",
    wanted: "no connection lost",
    program: interruptedWait((sql) => Effect.scoped(sql.reserve))
  },
  {
    title: "   A stream is interrupted while it waits for a connection",
    wanted: "no connection lost",
    program: interruptedWait((sql) => Stream.runDrain(sql`SELECT 1`.stream))
  },
  {
    title: "3  A statement is interrupted while the pool is saturated",
    wanted: "an interrupt at once",
    program: interruptedStatement
  },
  {
    title: '4  LISTEN, told "one", "" and, after its connection was lost, "after the loss"',
    wanted: "all three heard",
    program: listening,
    options: { maxConnections: 2 }
  },
  {
    title: "   `notify`",
    wanted: "success",
    program: notified
  },
  {
    title: "5  No connection becomes free in time",
    wanted: "an error that says so to programs, too",
    program: saturated,
    options: { maxConnections: 1, connectTimeout: "1 second" }
  }
]

const main = Effect.gen(function* () {
  const { url, version } = yield* EmbeddedPostgres.make({ parameters: { fsync: "off" } })
  const sides: Record<string, Side> = {
    "@effect/sql-pg": { layer: (options) => PgClient.layer({ ...options, url }) },
    checkpool: { layer: (options) => PgPool.layer({ minConnections: 0, acquireTimeout: "1 second", ...options, url }) }
  }
  console.log(
    `The same programs on both, with a pool of one connection unless it says otherwise, on Postgres ${version}.`
  )
  for (const { options = { maxConnections: 1 }, program, title, wanted } of lines) {
    console.log(`\n${title}${options.maxConnections === 1 ? "" : ` (${options.maxConnections} connections)`}`)
    console.log(`   ${"wanted".padEnd(15)} ${wanted}`)
    for (const [name, { layer }] of Object.entries(sides)) {
      const said = yield* Effect.provide(program, layer(options)).pipe(
        Effect.exit,
        Effect.map((exit) => (Exit.isSuccess(exit) ? exit.value : told(exit)))
      )
      console.log(`   ${name.padEnd(15)} ${said}`)
    }
  }
})

Effect.runPromise(Effect.scoped(main)).catch((error) => {
  console.error(error)
  process.exitCode = 1
})
