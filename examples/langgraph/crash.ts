/**
 * A process is killed in the middle of a run, and a second one finishes it from the database. With `durability: "sync"` a
 * step begins only once the one before it is stored, so no finished step is done twice.
 */
import { fileURLToPath } from "node:url"
import { CheckpoolSaver } from "@checkpool/langgraph"
import { Annotation, END, START, StateGraph } from "@langchain/langgraph"
import * as Worker from "../worker.ts"
import type { Example } from "./stage.ts"

const chapters = 12

const State = Annotation.Root({
  done: Annotation<Array<number>>({ reducer: (done, more) => [...done, ...more], default: () => [] })
})

/** What each of the two processes does: it goes on where the thread is, be it at its beginning. */
export const worker = async (url: string, schema: string): Promise<void> => {
  await using checkpointer = CheckpoolSaver.fromConnString(url, { schema })
  const graph = new StateGraph(State)
    .addNode("translate", async ({ done }) => {
      const chapter = done.length + 1
      process.stdout.write(`begin ${chapter}\n`)
      await new Promise((resolve) => setTimeout(resolve, 30))
      process.stdout.write(`end ${chapter}\n`)
      return { done: [chapter] }
    })
    .addEdge(START, "translate")
    .addConditionalEdges("translate", ({ done }) => (done.length < chapters ? "translate" : END))
    .compile({ checkpointer })

  const thread = { configurable: { thread_id: "a book" } }
  const begun = (await checkpointer.getTuple(thread)) !== undefined
  const { done } = await graph.invoke(begun ? null : {}, { ...thread, durability: "sync", recursionLimit: 100 })
  process.stdout.write(`finished ${done.join(" ")}\n`)
}

const program = fileURLToPath(new URL("./main.js", import.meta.url))

const start = (url: string, schema: string, killAt?: string) =>
  Worker.run(program, { args: ["crash"], env: { CHECKPOOL_CRASH_WORKER: JSON.stringify([url, schema]) }, killAt })

export const crash: Example = async ({ say, schema, url }) => {
  const first = await start(url, schema, "begin 6")
  say(`first process:  ${chaptersOf(first)}; killed in the middle of 6`)
  const second = await start(url, schema)
  say(`second process: ${chaptersOf(second)}`)
  say(`                ${second.at(-1)}`)

  const ended = [...first, ...second].filter((line) => line.startsWith("end"))
  say(`\n${new Set(ended).size} of ${chapters} chapters, ${ended.length - new Set(ended).size} of them twice`)
}

const chaptersOf = (lines: ReadonlyArray<string>) =>
  lines.flatMap((line) => (line.startsWith("end ") ? [line.slice(4)] : [])).join(" ")
