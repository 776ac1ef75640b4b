/**
 * Measures the checkpointer beside LangGraph's own saver; `--help` tells the options.
 *
 *     npx tsc -b packages/checkpoint/benchmark && node packages/checkpoint/benchmark/dist/main.js
 */
import * as Results from "@checkpool/benchmark/Results"
import { Effect } from "effect"
import { picture } from "./picture.ts"
import * as Put from "./put.ts"
import * as Read from "./read.ts"
import * as Row from "./row.ts"
import * as Server from "./server.ts"
import * as Settings from "./settings.ts"

const settings = Settings.read(process.argv.slice(2))

const parts = [
  {
    title: "Puts",
    unit: "per second",
    variants: Put.variants,
    measure: Put.measure,
    wanted: settings.puts
  },
  {
    title: "Reads",
    unit: "p50 in ms",
    variants: Read.variants,
    measure: Read.measure,
    wanted: settings.reads
  }
].filter(({ wanted }) => wanted)

const machine = (server: Server.Server) => `${Results.machine()}, PostgreSQL ${server.version}`

const main = Effect.gen(function* () {
  const server = yield* Server.make(settings.url)
  const text: Array<string> = []
  const say = (line: string) => {
    console.log(line)
    text.push(line)
  }
  say(`${machine(server)}\n`)
  const pictured: Array<Row.Row> = []
  for (const { measure, title, unit, variants } of parts) {
    say(`## ${title}\n\n${Row.head(unit, variants)}`)
    yield* measure(server, settings.effort, (row) => {
      pictured.push(row)
      say(Row.line(row, variants))
    })
    say("")
  }
  const { out } = settings
  if (out === undefined) return
  yield* Effect.promise(() => Results.write(out, text.join("\n"), picture(pictured, machine(server))))
})

if (settings.help) console.log(Settings.help)
else {
  Effect.runPromise(Effect.scoped(main)).catch((error) => {
    console.error(error)
    process.exitCode = 1
  })
}
