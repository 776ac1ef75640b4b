/**
 * A human in the loop: the graph stops with a question, and goes on with the answer, whenever and wherever that comes.
 */
import { Annotation, Command, END, INTERRUPT, interrupt, isInterrupted, START, StateGraph } from "@langchain/langgraph"
import type { Example } from "./stage.ts"

const State = Annotation.Root({
  amount: Annotation<number>,
  status: Annotation<string>
})

interface Answer {
  readonly approved: boolean
  readonly amount?: number
}

export const approval: Example = async ({ checkpointer, say }) => {
  let transfers = 0
  /** As each process does that takes part. */
  const compile = () =>
    new StateGraph(State)
      .addNode(
        "approve",
        ({ amount }) => {
          const answer: Answer = interrupt({ question: `Transfer ${amount} francs?` })
          return answer.approved
            ? new Command({ update: { amount: answer.amount ?? amount }, goto: "transfer" })
            : new Command({ update: { status: "declined" }, goto: END })
        },
        { ends: ["transfer", END] }
      )
      .addNode("transfer", ({ amount }) => {
        transfers++
        return { status: `transferred ${amount} francs` }
      })
      .addEdge(START, "approve")
      .addEdge("transfer", END)
      .compile({ checkpointer })

  for (const [thread_id, answer] of [
    ["order 1", { approved: true, amount: 80 }],
    ["order 2", { approved: false }]
  ] as const) {
    const thread = { configurable: { thread_id } }
    const stopped = await compile().invoke({ amount: 100 }, thread)
    if (!isInterrupted<{ question: string }>(stopped)) throw new Error("nobody was asked")
    say(`${thread_id}: ${stopped[INTERRUPT][0]?.value?.question} ${JSON.stringify(answer)}`)

    // Hours later, perhaps on another machine: what waits is in the database.
    const later = compile()
    const { next } = await later.getState(thread)
    const { status } = await later.invoke(new Command({ resume: answer }), thread)
    say(`${thread_id}: it waited at "${next.join()}"; ${status}`)
  }
  say(`\n${transfers} transfer`)
}
