/**
 * The play: a text parsed into scenes, and each scene into speeches.
 */
import { FileSystem } from "@effect/platform"
import { Effect } from "effect"

export interface Speech {
  readonly speaker: string
  readonly text: string
}

export interface Scene {
  readonly title: string
  readonly speeches: ReadonlyArray<Speech>
}

/**
 * Reads the text: blocks between empty lines. A block `== … ==` begins a scene; any other is a speech, its first line
 * naming the speaker. Lines that begin with `#` are about the text.
 */
export const parse = (text: string): ReadonlyArray<Scene> => {
  const scenes: Array<{ title: string; speeches: Array<Speech> }> = []
  const blocks = text
    .replaceAll("\r\n", "\n")
    .replace(/^#.*\n/gm, "")
    .split(/\n\s*\n/)
  for (const block of blocks) {
    const [first = "", ...lines] = block.trim().split("\n")
    const title = /^== (.+) ==$/.exec(first)?.[1]
    if (title !== undefined) scenes.push({ title, speeches: [] })
    else if (lines.length > 0) scenes.at(-1)?.speeches.push({ speaker: first, text: lines.join("\n") })
  }
  return scenes
}

const file = "as-you-like-it.txt"

/** The play that lies beside the sources; the compiled program finds it from where it lies itself. */
export const load: Effect.Effect<ReadonlyArray<Scene>, Error, FileSystem.FileSystem> = Effect.gen(function* () {
  const files = yield* FileSystem.FileSystem
  const places = ["./data/", "../../witness/data/"].map((folder) => new URL(folder + file, import.meta.url))
  for (const { pathname } of places) {
    const path = decodeURIComponent(pathname)
    if (yield* files.exists(path)) return parse(yield* files.readFileString(path))
  }
  return yield* Effect.fail(new Error(`The text ${file} is missing: it belongs into examples/witness/data.`))
})
