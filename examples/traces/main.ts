/**
 * Prints the spans of two turns that are saved over one connection.
 *
 *     npx tsc -b examples && node examples/dist/traces/main.js
 */
import { Effect } from "effect"
import { trace } from "./conversation.ts"
import { draw } from "./tree.ts"

Effect.runPromise(Effect.map(trace, draw)).then(console.log, (error) => {
  console.error(error)
  process.exitCode = 1
})
