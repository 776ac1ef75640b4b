import * as NodeFs from "node:fs"
import * as NodePath from "node:path"
import { EmbeddedPostgres } from "@checkpool/embedded"
import { expect, it, layer } from "@effect/vitest"
import { Effect, Redacted } from "effect"
import { Client } from "pg"
import type { Findings } from "../../examples/witness/result.ts"
import type { Verdict } from "../../examples/witness/verdict.ts"
import { processesAt, run, start, temporaryFolder, until } from "./program.ts"

type Output = Findings & { readonly passed: boolean; readonly verdicts: ReadonlyArray<Verdict> }

/** Asks a server of a test. */
const ask = (url: Redacted.Redacted, sql: string) =>
  Effect.promise(async (): Promise<ReadonlyArray<ReadonlyArray<unknown>>> => {
    const client = new Client(Redacted.value(url))
    await client.connect()
    try {
      return (await client.query({ text: sql, rowMode: "array" })).rows
    } finally {
      await client.end()
    }
  })

const schemas = "SELECT nspname FROM pg_namespace WHERE nspname LIKE 'checkpool%'"
const connections = "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'checkpool-witness%'"

const changed = (url: Redacted.Redacted, change: (url: URL) => void) => {
  const copy = new URL(Redacted.value(url))
  change(copy)
  return copy.href
}

it.live(
  "proves each criterion on a server of its own, prints JSON and nothing else on stdout, and exits with 0",
  () =>
    Effect.gen(function* () {
      const report = NodePath.join(yield* temporaryFolder, "report.html")
      const { exit, output } = yield* start(["--quick", "--json", "--watch", "--report", report])
      yield* until("a phase is over", () => /^before, direct, 10 callers/m.test(output.err))
      const [, page] = /^Live page: (\S+)$/m.exec(output.err)!
      const seen = yield* Effect.promise(async () => (await fetch(`${page}/events`)).body!.getReader().read())
      expect(new TextDecoder().decode(seen.value)).toContain(`"pool":"phase: before, direct, 10 callers"`)
      const code = yield* Effect.promise(() => exit)
      const { err, out } = output
      const found: Output = JSON.parse(out)
      expect(found.verdicts.filter(({ passed }) => !passed)).toEqual([])
      expect(found.verdicts.length).toBe(8)
      expect([found.passed, code]).toEqual([true, 0])
      expect(found.phases.map(({ callers, groupCommit, mode, place }) => [place, mode, callers, groupCommit])).toEqual(
        ["direct", "relay"].flatMap((place) => [
          [place, "before", 1, false],
          [place, "before", 10, false],
          [place, "after", 10, false],
          [place, "after", 400, false],
          [place, "after", 400, true]
        ])
      )
      for (const { acquisition, mode, place } of found.phases) {
        // Five round trips and the work on both sides.
        if (mode === "before" && place === "relay") expect(acquisition.p50).toBeGreaterThan(45)
      }
      const { saturation } = found
      const away = Object.values(saturation.turnedAway).reduce((sum, { count }) => sum + count, 0)
      expect(saturation.served + away).toBe(saturation.callers)
      expect(found.interruption.interrupted).toBeGreaterThan(0)
      expect(found.statistics.after.tup_inserted).toBeGreaterThan(found.statistics.before.tup_inserted ?? 0)
      expect(err).toMatch(/^reading everything back/m)
      expect(err).not.toContain("\u001b")
      expect(err).toMatch(new RegExp(`^With plots: ${report}$`, "m"))
      const html = NodeFs.readFileSync(report, "utf8")
      expect(html).toContain("All 8 criteria hold.")
      expect(html.match(/<svg/g)?.length).toBe(12)
      expect(found.saturation.timeline.some(({ leased }) => leased === found.saturation.connections)).toBe(true)
      expect(found.saturation.timeline.some(({ waiting }) => waiting > 0)).toBe(true)
    }).pipe(Effect.scoped),
  60_000
)

layer(EmbeddedPostgres.layer(), { excludeTestServices: true, timeout: "60 seconds" })(
  "On a database of one's own",
  (it) => {
    it.effect(
      "it works in a schema of its own, keeps to what the user may have, and leaves nothing",
      () =>
        Effect.gen(function* () {
          const { url } = yield* EmbeddedPostgres.EmbeddedPostgres
          yield* ask(
            url,
            `CREATE ROLE guest LOGIN PASSWORD 'guest' CONNECTION LIMIT 32;
             GRANT CREATE ON DATABASE postgres TO guest;
             CREATE TABLE public.checkpoints (mine int); INSERT INTO public.checkpoints VALUES (1)`
          )
          const guest = changed(url, (url) => {
            url.username = "guest"
            url.password = "guest"
          })
          const { code, err, out } = yield* run("--quick", "--json", "--url", guest, "--threads", "5")
          const found: Output = JSON.parse(out)
          expect([found.passed, code]).toEqual([true, 0])
          expect(found.pool.max).toBeLessThan(32)
          expect(Math.max(...found.phases.map(({ peak }) => peak))).toBeLessThanOrEqual(found.pool.max)
          expect(err).toMatch(/maximum is \d+ instead of 100/)
          expect(yield* ask(url, "SELECT * FROM public.checkpoints")).toEqual([[1]])
          expect(yield* ask(url, schemas)).toEqual([])
          expect(yield* ask(url, connections)).toEqual([])
        }),
      60_000
    )

    it.scoped(
      "Ctrl-C in the middle drops the schema and closes the connections, even if npm passes it on once more",
      () =>
        Effect.gen(function* () {
          const { url } = yield* EmbeddedPostgres.EmbeddedPostgres
          const { child, exit, output } = yield* start(["--quick", "--url", Redacted.value(url)])
          yield* until("a crowd is at work", () => /after, direct, 10 callers/.test(output.out))
          expect((yield* ask(url, schemas)).length).toBe(1)
          process.kill(-child.pid!, "SIGINT")
          process.kill(-child.pid!, "SIGINT")
          expect(yield* Effect.promise(() => exit)).toBe(130)
          expect(output.err).toBe("Interrupted, everything is cleaned up.\n")
          expect(yield* ask(url, schemas)).toEqual([])
          expect(yield* ask(url, connections)).toEqual([])
        }),
      30_000
    )

    const refused = (args: (url: Redacted.Redacted) => ReadonlyArray<string>, sentence: RegExp) =>
      Effect.gen(function* () {
        const { url } = yield* EmbeddedPostgres.EmbeddedPostgres
        const { code, err, out, seconds } = yield* run(...args(url))
        expect([code, out]).toEqual([1, ""])
        expect(err).toMatch(sentence)
        expect(err.trimEnd().split("\n").length).toBe(1)
        expect(err).not.toContain(new URL(Redacted.value(url)).password)
        expect(seconds).toBeLessThan(10)
      })

    it.effect("a wrong password is one sentence", () =>
      refused(
        (url) => ["--url", changed(url, (url) => (url.password = "wrong"))],
        /refuses the password of user "postgres"/
      )
    )
    it.effect("a database that is down is one sentence", () =>
      refused((url) => ["--url", changed(url, (url) => (url.port = "1"))], /Nothing listens at 127\.0\.0\.1:1/)
    )
    it.effect("a database that does not exist is one sentence", () =>
      refused((url) => ["--url", changed(url, (url) => (url.pathname = "/nowhere"))], /has no database "nowhere"/)
    )
    it.effect("a URL that is none is one sentence", () =>
      refused(() => ["--url", "somewhere"], /The URL can't be read/)
    )
    it.effect("a schema that is there already is left alone, in one sentence", () =>
      refused((url) => ["--url", Redacted.value(url), "--schema", "public"], /"public" exists already/)
    )
    it.effect("a user who may not create a schema learns what to ask for", () =>
      Effect.gen(function* () {
        const { url } = yield* EmbeddedPostgres.EmbeddedPostgres
        yield* ask(url, "CREATE ROLE reader LOGIN PASSWORD 'reader'")
        const reader = changed(url, (url) => {
          url.username = "reader"
          url.password = "reader"
        })
        yield* refused(() => ["--url", reader], /GRANT CREATE ON DATABASE "postgres" TO "reader"/)
      })
    )
    it.effect("more threads than the pool may have connections is one sentence", () =>
      refused((url) => ["--url", Redacted.value(url), "--threads", "500"], /--threads 500 is more than the \d+/)
    )
  }
)

it.live("options that make no sense are refused, and --help is plain text where there is no terminal", () =>
  Effect.gen(function* () {
    expect(yield* run("--threads", "0")).toMatchObject({ code: 1, out: "" })
    expect(yield* run("--nonsense")).toMatchObject({ code: 1, out: "" })
    const { code, out } = yield* run("--help")
    expect(code).toBe(0)
    expect(out).toMatch(/--url postgres:/)
    expect(out).not.toContain("\u001b")
  })
)

const moments: ReadonlyArray<readonly [string, (out: string, folder: string) => boolean]> = [
  ["while the server is made", (_, folder) => NodeFs.readdirSync(folder).length > 0],
  ["while connections are opened for each write", (out) => /^warming up/m.test(out)],
  ["while a crowd writes through the relay", (out) => /^after, 10 ms away, 10 callers/m.test(out)]
]

it.scopedLive.each(moments)(
  "Ctrl-C %s leaves no process and no folder",
  ([, isNow]) =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder
      const { child, exit, output } = yield* start(["--quick"], folder)
      yield* until("it is time", () => isNow(output.out, folder))
      process.kill(-child.pid!, "SIGINT")
      expect(yield* Effect.promise(() => exit)).toBe(130)
      yield* until("all processes are gone", () => processesAt(folder).length === 0)
      expect(NodeFs.readdirSync(folder)).toEqual([])
    }),
  30_000
)
