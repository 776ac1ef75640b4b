/**
 * Time travel: any earlier state is there to look at, to go on from, and to fork. Branches that start from one checkpoint
 * keep their values apart, also if they run at the same time.
 */
import { Annotation, END, START, StateGraph } from "@langchain/langgraph"
import type { Example } from "./stage.ts"

const State = Annotation.Root({
  story: Annotation<Array<string>>({ reducer: (story, more) => [...story, ...more], default: () => [] })
})

export const timeTravel: Example = async ({ checkpointer, say }) => {
  const graph = new StateGraph(State)
    .addNode("morning", () => ({ story: ["in the morning"] }))
    .addNode("weather", () => ({ story: ["it rains"] }))
    .addNode("evening", ({ story }) => ({ story: [story.includes("it rains") ? "we stay in" : "we go out"] }))
    .addEdge(START, "morning")
    .addEdge("morning", "weather")
    .addEdge("weather", "evening")
    .addEdge("evening", END)
    .compile({ checkpointer })

  const thread = { configurable: { thread_id: "a day" } }
  await graph.invoke({ story: ["once"] }, thread)

  say("the history, the newest first:")
  let fork: { readonly configurable?: Record<string, unknown> } = thread
  for await (const { config, next, values } of graph.getStateHistory(thread)) {
    say(`  ${values.story?.join(", ") || "(nothing)"}${next.length > 0 ? ` → ${next}` : ""}`)
    if (next[0] === "weather") fork = config
  }

  // Two other days from the same morning, at the same time.
  const [sun, snow] = await Promise.all(
    ["the sun shines", "it snows"].map(async (weather) => {
      const branch = await graph.updateState(fork, { story: [weather] }, "weather")
      return graph.invoke(null, branch)
    })
  )
  const original = await graph.getState(fork)
  say(`\nsun:      ${sun?.story.join(", ")}`)
  say(`snow:     ${snow?.story.join(", ")}`)
  say(`the fork: ${original.values.story.join(", ")}, and then ${original.next}`)
}
