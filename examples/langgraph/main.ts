/**
 * Real graphs on `CheckpoolSaver`: `npm run langgraph -- agent`, or another one of the examples.
 */
import { parseArgs } from "node:util"
import type { Example } from "./stage.ts"

const examples: Readonly<Record<string, readonly [load: () => Promise<Example>, what: string]>> = {
  agent: [async () => (await import("./agent.ts")).agent, "an agent that calls tools and remembers the conversation"],
  approval: [
    async () => (await import("./approval.ts")).approval,
    "a human in the loop: interrupt, and Command({ resume })"
  ],
  branches: [
    async () => (await import("./branches.ts")).branches,
    "parallel branches with graphs of their own; one fails and goes on"
  ],
  "time-travel": [
    async () => (await import("./timeTravel.ts")).timeTravel,
    "earlier states, and two forks of one of them at the same time"
  ],
  crash: [
    async () => (await import("./crash.ts")).crash,
    "a process that is killed, and another one that finishes its run"
  ]
}

const help = `Usage: npm run langgraph -- EXAMPLE [--url postgres://user:password@host:5432/database]

${Object.entries(examples)
  .map(([name, [, what]]) => `  ${name.padEnd(12)} ${what}`)
  .join("\n")}

Without --url it plays on a server from npm that is started for it. On a database of yours it plays in a schema of its
own, and drops it again.
`

const main = async (): Promise<void> => {
  const given = process.env.CHECKPOOL_CRASH_WORKER
  if (given !== undefined) {
    const { worker } = await import("./crash.ts")
    return worker(...(JSON.parse(given) as [url: string, schema: string]))
  }
  const { positionals, values } = parseArgs({
    allowPositionals: true,
    options: { url: { type: "string" }, help: { type: "boolean", short: "h" } }
  })
  const [name = "", ...rest] = positionals
  if (values.help === true) return void process.stdout.write(help)
  const example = Object.hasOwn(examples, name) && rest.length === 0 ? examples[name] : undefined
  if (example === undefined) {
    throw new TypeError(name === "" ? help : `There is no example "${positionals.join(" ")}".\n\n${help}`)
  }
  const { play } = await import("./stage.ts")
  await play(await example[0](), values.url)
}

main().catch((error) => {
  // What is wrong with the call or the database says so itself; anything else is a bug, and its place matters.
  const expected = error instanceof TypeError || "_tag" in error
  process.stderr.write(`${expected ? error.message : (error.stack ?? error)}\n`)
  process.exitCode = 1
})
