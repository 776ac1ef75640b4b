/**
 * Parallel branches, each of them a graph of its own with its own checkpoints. One fails half-way, and when the run goes on
 * only that one does its work again.
 */
import { Annotation, END, Send, START, StateGraph } from "@langchain/langgraph"
import type { Example } from "./stage.ts"

const topics = ["pools", "locks", "journals"]

const State = Annotation.Root({
  findings: Annotation<Array<string>>({ reducer: (a, b) => [...a, ...b], default: () => [] }),
  report: Annotation<string>
})

const Branch = Annotation.Root({
  findings: State.spec.findings,
  topic: Annotation<string>,
  notes: Annotation<string>
})

export const branches: Example = async ({ checkpointer, say }) => {
  const work: Array<string> = []
  let networkIsDown = true

  const research = new StateGraph(Branch)
    .addNode("read", ({ topic }) => {
      work.push(`read ${topic}`)
      return { notes: `notes on ${topic}` }
    })
    .addNode("write", ({ notes, topic }) => {
      if (topic === "locks" && networkIsDown) throw new Error(`no network while writing about ${topic}`)
      work.push(`write ${topic}`)
      return { findings: [`what the ${notes} say`] }
    })
    .addEdge(START, "read")
    .addEdge("read", "write")
    .addEdge("write", END)
    .compile()

  const graph = new StateGraph(State)
    .addNode("research", research)
    .addNode("summarise", ({ findings }) => ({ report: findings.join("; ") }))
    .addConditionalEdges(START, () => topics.map((topic) => new Send("research", { topic })), ["research"])
    .addEdge("research", "summarise")
    .addEdge("summarise", END)
    .compile({ checkpointer })

  const thread = { configurable: { thread_id: "report" } }
  try {
    await graph.invoke({}, thread)
  } catch (error) {
    say(`first run:  ${work.splice(0).sort().join(", ")}`)
    say(`            failed: ${(error as Error).message}`)
  }
  networkIsDown = false
  // No input: go on where it stopped.
  const { report } = await graph.invoke(null, thread)
  say(`second run: ${work.join(", ")}`)
  say(`\n${report}`)

  const spaces = new Map<string, number>()
  for await (const { config } of checkpointer.list(thread)) {
    const space = String(config.configurable?.checkpoint_ns).replace(/:.*/, " …") || "the outer graph"
    spaces.set(space, (spaces.get(space) ?? 0) + 1)
  }
  for (const [space, count] of spaces) say(`${count} checkpoints of ${space}`)
}
