/**
 * The import: the lines of a file into a table, a hundred at a time. After each hundred its state is saved, in the
 * transaction of the lines themselves: so no line is there twice, and none is missing, wherever the process dies.
 */
import * as NodeFs from "node:fs"
import { Thread } from "@checkpool/checkpoint"
import { SqlClient } from "@effect/sql"
import { Console, Effect, Option, Schema } from "effect"

/** The thread of the import: what is saved of it, and under which name. */
const progress = Thread.make({
  id: "as you like it",
  state: Schema.Struct({ lines: Schema.Number, words: Schema.Number })
})

/** From the compiled program, too. */
export const source = NodeFs.readFileSync(
  new URL("../../witness/data/as-you-like-it.txt", import.meta.url),
  "utf8"
).split("\n")

/** Goes on where the thread is, be it at its beginning. */
export const importLines = Effect.fnUntraced(function* (table: string) {
  const sql = yield* SqlClient.SqlClient
  let state = Option.getOrElse(yield* progress.load, () => ({ lines: 0, words: 0 }))
  yield* Console.log(`begins at line ${state.lines + 1}`)
  while (state.lines < source.length) {
    const next = source.slice(state.lines, state.lines + 100).map((line, i) => ({ n: state.lines + i + 1, line }))
    const words = next.reduce((sum, { line }) => sum + (line.match(/\w+/g)?.length ?? 0), state.words)
    state = { lines: state.lines + next.length, words }
    yield* sql.withTransaction(
      Effect.gen(function* () {
        yield* sql`INSERT INTO ${sql(table)} ${sql.insert(next)}`
        yield* Console.log(`sent up to line ${state.lines}`)
        // A good moment for a kill: neither the lines nor the state are committed.
        yield* Effect.sleep("20 millis")
        yield* progress.save(state)
      })
    )
    yield* Console.log(`stored up to line ${state.lines}`)
  }
  yield* Console.log(`ends: ${state.lines} lines, ${state.words} words`)
})
