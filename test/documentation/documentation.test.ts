/**
 * Documentation that runs can't rot: each snippet compiles, does what it does, and prints what it says that it prints.
 * Those that need a database find one under `DATABASE_URL`.
 */
import { format } from "node:util"
import { EmbeddedPostgres } from "@checkpool/embedded"
import { Effect, Exit, Redacted, Scope } from "effect"
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest"
import { compile } from "./compile.ts"
import { moduleOf } from "./plugin.ts"
import * as Snippets from "./snippets.ts"

const scope = Effect.runSync(Scope.make())

beforeAll(async () => {
  const server = await Effect.runPromise(Scope.extend(EmbeddedPostgres.make(), scope))
  process.env.DATABASE_URL = Redacted.value(server.url)
})

afterAll(() => Effect.runPromise(Scope.close(scope, Exit.void)))

describe("the documentation", () => {
  const problems = compile(Snippets.all)

  it.each(Snippets.all)("compiles at $at", (snippet) => {
    expect(problems.get(snippet)).toEqual([])
  })

  it.each(Snippets.all)("runs at $at", async (snippet) => {
    const printed: Array<string> = []
    const log = vi.spyOn(console, "log").mockImplementation((...all) => void printed.push(format(...all)))
    try {
      await import(moduleOf(snippet))
    } finally {
      log.mockRestore()
    }
    const said = Snippets.prints(snippet)
    expect(printed.filter((line) => said.includes(line))).toEqual(said)
  })

  it("has snippets in every README of a package, and they were found", () => {
    expect(Snippets.all.length).toBeGreaterThan(15)
  })
})
