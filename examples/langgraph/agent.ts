/**
 * An agent that calls tools until it knows the answer, and remembers the conversation. The model is a script, so that the
 * example needs no key; any chat model goes in its place.
 */
import { BaseChatModel } from "@langchain/core/language_models/chat_models"
import { AIMessage, type BaseMessage } from "@langchain/core/messages"
import { tool } from "@langchain/core/tools"
import { END, MessagesAnnotation, START, StateGraph } from "@langchain/langgraph"
import { ToolNode } from "@langchain/langgraph/prebuilt"
import { z } from "zod"
import type { Example } from "./stage.ts"

const temperatures: Record<string, number> = { Bern: 19, Oslo: 7 }

const temperature = tool(({ city }) => `${temperatures[city]} °C`, {
  name: "temperature",
  description: "The temperature in a city at present",
  schema: z.object({ city: z.string() })
})

/** Says what the script has for the number of messages so far. */
class ScriptedModel extends BaseChatModel {
  readonly #script: Readonly<Record<number, AIMessage>>
  constructor(script: Readonly<Record<number, AIMessage>>) {
    super({})
    this.#script = script
  }
  _llmType() {
    return "scripted"
  }
  async _generate(messages: Array<BaseMessage>) {
    const message = this.#script[messages.length] ?? new AIMessage("I don't know what to say.")
    return { generations: [{ text: String(message.content), message }] }
  }
}

const model = new ScriptedModel({
  1: new AIMessage({
    content: "",
    tool_calls: [
      { name: "temperature", args: { city: "Bern" }, id: "call 1" },
      { name: "temperature", args: { city: "Oslo" }, id: "call 2" }
    ]
  }),
  4: new AIMessage("Bern is warmer."),
  6: new AIMessage("By 12 degrees: you asked about Bern and Oslo, and I know both.")
})

export const agent: Example = async ({ checkpointer, say }) => {
  const graph = new StateGraph(MessagesAnnotation)
    .addNode("model", async ({ messages }) => ({ messages: [await model.invoke(messages)] }))
    .addNode("tools", new ToolNode([temperature]))
    .addEdge(START, "model")
    .addConditionalEdges("model", ({ messages }) => ((messages.at(-1) as AIMessage).tool_calls?.length ? "tools" : END))
    .addEdge("tools", "model")
    .compile({ checkpointer })

  const thread = { configurable: { thread_id: "weather" } }
  const ask = async (question: string) => {
    const { messages } = await graph.invoke({ messages: [{ role: "user", content: question }] }, thread)
    return messages
  }
  const first = await ask("Which of Bern and Oslo is warmer?")
  // The second call knows the first from the database alone.
  const all = await ask("By how much?")
  for (const message of all) say(`${message.getType().padEnd(6)}${show(message)}`)

  let checkpoints = 0
  for await (const _ of checkpointer.list(thread)) checkpoints++
  say(`\n${first.length} messages after the first question, ${all.length} after the second, ${checkpoints} checkpoints`)
}

const show = (message: BaseMessage): string => {
  const calls = (message as AIMessage).tool_calls ?? []
  return calls.length > 0
    ? calls.map(({ args, name }) => `${name}(${JSON.stringify(args)})`).join(", ")
    : String(message.content)
}
