import { spawn } from "node:child_process"
import { fileURLToPath } from "node:url"
import { EmbeddedPostgres } from "@checkpool/embedded"
import { SqlClient } from "@effect/sql"
import { PgClient } from "@effect/sql-pg"
import { describe, expect, it, layer } from "@effect/vitest"
import { Effect, Layer, Redacted } from "effect"

/** The compiled program: a plain Node runs it. `tsc -b test` makes it. */
const main = fileURLToPath(new URL("../examples/dist/langgraph/main.js", import.meta.url))

const run = (...args: ReadonlyArray<string>) =>
  Effect.promise(
    () =>
      new Promise<{ out: string; err: string; code: number | null }>((resolve) => {
        const child = spawn(process.execPath, [main, ...args], { stdio: ["ignore", "pipe", "pipe"] })
        let [out, err] = ["", ""]
        child.stdout.on("data", (chunk) => (out += chunk))
        child.stderr.on("data", (chunk) => (err += chunk))
        child.on("close", (code) => resolve({ out, err, code }))
      })
  )

const Server = EmbeddedPostgres.layer({ parameters: { fsync: "off" } })
const Client = Layer.unwrapEffect(Effect.map(EmbeddedPostgres.EmbeddedPostgres, ({ url }) => PgClient.layer({ url })))

/** Plays an example on the server and gives what it printed; nothing of it is left in the database. */
const play = (name: string) =>
  Effect.gen(function* () {
    const { url } = yield* EmbeddedPostgres.EmbeddedPostgres
    const { code, err, out } = yield* run(name, "--url", Redacted.value(url))
    expect(err).toBe("")
    expect(code).toBe(0)
    const sql = yield* SqlClient.SqlClient
    expect(yield* sql`SELECT nspname FROM pg_namespace WHERE nspname LIKE 'checkpool%'`).toEqual([])
    return out
  })

layer(Layer.provideMerge(Client, Server), { timeout: "2 minutes" })("the examples on LangGraph", (it) => {
  it.effect("agent: calls its tools, and remembers the conversation", () =>
    Effect.gen(function* () {
      const out = yield* play("agent")
      expect(out).toContain(
        'ai    temperature({"city":"Bern"}), temperature({"city":"Oslo"})\ntool  19 °C\ntool  7 °C\n'
      )
      expect(out).toContain("ai    By 12 degrees")
      expect(out).toContain("5 messages after the first question, 7 after the second, 8 checkpoints")
    })
  )

  it.effect("approval: waits for the human, and goes on with the answer", () =>
    Effect.gen(function* () {
      const out = yield* play("approval")
      expect(out).toContain('order 1: it waited at "approve"; transferred 80 francs')
      expect(out).toContain('order 2: it waited at "approve"; declined')
      expect(out).toContain("\n1 transfer\n")
    })
  )

  it.effect("branches: the work of those that succeeded is not done again", () =>
    Effect.gen(function* () {
      const out = yield* play("branches")
      expect(out).toContain("first run:  read journals, read locks, read pools, write journals, write pools\n")
      expect(out).toContain("second run: write locks\n")
      expect(out).toContain("notes on pools say; what the notes on locks say; what the notes on journals say")
    })
  )

  it.effect("time-travel: two forks at the same time keep their values apart", () =>
    Effect.gen(function* () {
      const out = yield* play("time-travel")
      expect(out).toContain("sun:      once, in the morning, the sun shines, we go out\n")
      expect(out).toContain("snow:     once, in the morning, it snows, we go out\n")
      expect(out).toContain("the fork: once, in the morning, and then weather\n")
    })
  )

  it.effect("crash: a second process finishes what a killed one began, and does nothing twice", () =>
    Effect.gen(function* () {
      const out = yield* play("crash")
      expect(out).toContain("first process:  1 2 3 4 5; killed in the middle of 6\nsecond process: 6 7 8 9 10 11 12\n")
      expect(out).toContain("12 of 12 chapters, 0 of them twice")
    })
  )
})

describe("the program of the examples", () => {
  it.effect("brings its own server if it is given none", () =>
    Effect.gen(function* () {
      const { code, err, out } = yield* run("approval")
      expect([code, err]).toEqual([0, ""])
      expect(out).toContain("1 transfer")
    })
  )

  it.effect("explains itself", () =>
    Effect.gen(function* () {
      const help = yield* run("--help")
      expect(help.code).toBe(0)
      for (const name of ["agent", "approval", "branches", "time-travel", "crash", "--url"]) {
        expect(help.out).toContain(name)
      }
      const unknown = yield* run("agents")
      expect(unknown.code).toBe(1)
      expect(unknown.err).toContain('There is no example "agents".')
      expect((yield* run("agent", "--ulr")).err).toContain("--ulr")
      const unreachable = yield* run("agent", "--url", "postgres://localhost:1/")
      expect(unreachable.code).toBe(1)
      expect(unreachable.err).toMatch(/^Checkpointer.setup failed: .*ECONNREFUSED.*\n$/)
    })
  )
})
