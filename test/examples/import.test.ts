import { execFile } from "node:child_process"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"
import { expect, it } from "vitest"

/** The compiled program: a plain Node runs it. `tsc -b test` makes it. */
const main = fileURLToPath(new URL("../../examples/dist/import/main.js", import.meta.url))

it("an import that is killed goes on where it was: each line is stored, none of them twice", async () => {
  const { stderr, stdout } = await promisify(execFile)(process.execPath, [main], { timeout: 50_000 })
  expect(stderr).toBe("")
  const [first, second, result] = stdout.trimEnd().split("\n")
  expect(first).toBe("first process: begins at line 1, sent up to line 2000; killed")
  expect(second).toBe("second process: begins at line 1901, ends: 4339 lines, 22822 words")
  expect(result).toBe("The table has 4339 lines: each line of the file, once.")
}, 60_000)
