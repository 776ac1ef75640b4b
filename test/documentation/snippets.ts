/**
 * The pieces of TypeScript in the documentation: those in READMEs, and the `@example`s of what packages export.
 */
import * as NodeFs from "node:fs"
import * as NodePath from "node:path"
import { fileURLToPath } from "node:url"

export const root = fileURLToPath(new URL("../..", import.meta.url))

export interface Snippet {
  /** Where it stands: path from the root, and line. */
  readonly at: string
  /** The file that its imports are resolved from, as if the snippet stood beside it. */
  readonly host: string
  readonly code: string
}

/** The README of the whole may import what the tests may: every package. */
const hostOfAll = "test/documentation/snippets.ts"

const within = (file: string): ReadonlyArray<Snippet> => {
  const text = NodeFs.readFileSync(NodePath.join(root, file), "utf8")
  const host = NodePath.join(root, NodePath.dirname(file) === "." ? hostOfAll : file)
  // Fences of a comment begin with its star; so do the lines between them.
  return [...text.matchAll(/^(?<margin> *\* |)```ts\n(?<code>[\s\S]*?)^ *(?:\* )?```$/gm)].map((match) => {
    const { code, margin } = match.groups as { readonly code: string; readonly margin: string }
    const line = text.slice(0, match.index).split("\n").length
    const lines = margin === "" ? code : code.replace(/^ *\* ?/gm, "")
    return { at: `${file}:${line}`, host, code: lines }
  })
}

const sources = (folder: string): ReadonlyArray<string> =>
  NodeFs.readdirSync(NodePath.join(root, folder), { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith(".ts"))
    .map((entry) => NodePath.relative(root, NodePath.join(entry.parentPath, entry.name)))

const packages = NodeFs.readdirSync(NodePath.join(root, "packages")).map((name) => `packages/${name}`)

const readmes = ["README.md", "examples/README.md", ...packages.map((folder) => `${folder}/README.md`)]

export const all: ReadonlyArray<Snippet> = [
  ...readmes.filter((file) => NodeFs.existsSync(NodePath.join(root, file))),
  ...packages.flatMap((folder) => sources(`${folder}/src`))
].flatMap(within)

/** What it says that it prints: `console.log(…) // this`. */
export const prints = ({ code }: Snippet): ReadonlyArray<string> =>
  [...code.matchAll(/^console\.log\(.*\) \/\/ (.+)$/gm)].map((match) => match[1]!)
