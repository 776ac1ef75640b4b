import * as NodeFs from "node:fs"
import * as NodePath from "node:path"
import { fileURLToPath } from "node:url"
import { describe, expect, it } from "@effect/vitest"

const root = fileURLToPath(new URL("..", import.meta.url))
const read = (path: string) => NodeFs.readFileSync(NodePath.join(root, path), "utf8")

/** Without comments, and so without the examples in them. */
const code = (file: string) => read(file).replace(/\/\*[\s\S]*?\*\/|(?<!:)\/\/[^\n]*/g, "")

const filesBelow = (folder: string): ReadonlyArray<string> =>
  NodeFs.readdirSync(NodePath.join(root, folder), { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith(".ts"))
    .map((entry) => NodePath.relative(root, NodePath.join(entry.parentPath ?? entry.path, entry.name)))

const packages = NodeFs.readdirSync(NodePath.join(root, "packages")).sort()

/** What each package's sources may import from the workspace: arrows point one way. */
const arrows: Record<string, ReadonlyArray<string>> = {
  benchmark: [],
  checkpoint: ["pg"],
  embedded: [],
  langgraph: ["checkpoint", "pg"],
  observability: ["checkpoint", "pg", "pool"],
  pg: ["pool"],
  pool: []
}

const importsOf = (file: string): ReadonlyArray<string> =>
  [...code(file).matchAll(/(?:from|import)\s+"([^"]+)"/g)].map((match) => match[1]!)

describe("the architecture", () => {
  it("has a place for every package", () => {
    expect(packages).toEqual(Object.keys(arrows).sort())
  })

  it.each(packages)("packages/%s imports only from packages below it", (name) => {
    for (const file of filesBelow(`packages/${name}/src`)) {
      const others = importsOf(file).filter((path) => path.startsWith("@checkpool/"))
      for (const other of others) {
        expect(
          [name, ...arrows[name]!].map((allowed) => `@checkpool/${allowed}`),
          `${file} imports ${other}`
        ).toContain(other.split("/").slice(0, 2).join("/"))
      }
    }
  })

  it.each(packages)("packages/%s imports modules of Effect one by one, not their barrels", (name) => {
    for (const file of filesBelow(`packages/${name}/src`)) {
      const barrels = importsOf(file).filter((path) => /^(effect|@effect\/[a-z-]+|@checkpool\/[a-z]+)$/.test(path))
      expect(barrels, file).toEqual([])
    }
  })

  it.each(packages)("packages/%s reads no wall clock, sets no timer and prints nothing in its sources", (name) => {
    // The relay's delay line and the embedded server live in real time; their files say so.
    const realTime = /^packages\/embedded\//
    for (const file of filesBelow(`packages/${name}/src`)) {
      expect(code(file).match(/\bconsole\.|\bDate\.now\(|\bprocess\.stdout/)?.[0], file).toBeUndefined()
      if (!realTime.test(file))
        expect(code(file).match(/(?<!\.)\bset(?:Timeout|Interval|Immediate)\(/)?.[0], file).toBeUndefined()
    }
  })

  it.each(packages)("packages/%s hides its internal modules", (name) => {
    expect(JSON.parse(read(`packages/${name}/package.json`)).exports["./internal/*"]).toBeNull()
  })

  it("shows nothing at the top level but what was agreed", () => {
    const shown = NodeFs.readdirSync(root).filter((name) => !name.startsWith(".") && name !== "node_modules")
    const agreed = [
      "LICENSE",
      "README.md",
      "examples",
      "package.json",
      "packages",
      "pnpm-lock.yaml",
      "pnpm-workspace.yaml",
      "test",
      "tsconfig.base.json"
    ]
    expect(shown.sort()).toEqual(agreed.sort())
  })
})
