import { describe, expect, it } from "@effect/vitest"
import { AIMessage, type BaseMessage, HumanMessage, ToolMessage } from "@langchain/core/messages"
import {
  Annotation,
  type BaseCheckpointSaver,
  Command,
  END,
  interrupt,
  messagesStateReducer,
  Send,
  START,
  StateGraph
} from "@langchain/langgraph"
import { type CheckpointTuple, emptyCheckpoint } from "@langchain/langgraph-checkpoint"
import { query, withBoth } from "./server.ts"

const State = Annotation.Root({
  messages: Annotation<Array<BaseMessage>>({ reducer: messagesStateReducer, default: () => [] }),
  answers: Annotation<Array<string>>({ reducer: (a, b) => [...a, ...b], default: () => [] }),
  seen: Annotation<Map<string, number>>({ reducer: (a, b) => new Map([...a, ...b]), default: () => new Map() })
})

/** A turn: an AI message with a tool call, two tasks sent off, a question to the human, and an answer. */
const compile = (checkpointer: BaseCheckpointSaver) =>
  new StateGraph(State)
    .addNode("model", ({ messages }) => ({
      messages: [
        new AIMessage({
          content: "",
          tool_calls: [{ name: "look", args: { turn: messages.length }, id: `call ${messages.length}` }]
        })
      ]
    }))
    .addNode("tool", ({ messages }) => ({
      messages: [
        new ToolMessage({ content: "seen", tool_call_id: (messages.at(-1) as AIMessage).tool_calls![0]!.id! })
      ],
      seen: new Map([[`turn ${messages.length}`, messages.length]])
    }))
    .addNode("part", (state: { part: string }) => ({ answers: [state.part] }))
    .addNode("ask", ({ messages }) => {
      const answer: string = interrupt({ question: `more than ${messages.length}?` })
      return { answers: [answer], messages: [new AIMessage(`so ${answer}`)] }
    })
    .addEdge(START, "model")
    .addEdge("model", "tool")
    .addConditionalEdges("tool", () => ["a", "b"].map((part) => new Send("part", { part })), ["part"])
    .addEdge("part", "ask")
    .addEdge("ask", END)
    .compile({ checkpointer })

const thread = { configurable: { thread_id: "shared" } }

const history = async (saver: BaseCheckpointSaver) => {
  const states = []
  for await (const state of compile(saver).getStateHistory(thread)) states.push(state)
  return states
}

/**
 * What both can know: the stock saver loses values without a version, and the path of a task, by which writes are ordered.
 */
const inCommon = ({ checkpoint, pendingWrites = [], ...rest }: CheckpointTuple) => ({
  ...rest,
  checkpoint: {
    ...checkpoint,
    channel_values: Object.fromEntries(
      Object.entries(checkpoint.channel_values).filter(([channel]) => channel in checkpoint.channel_versions)
    )
  },
  pendingWrites: new Set(pendingWrites)
})

/** Both savers find the same in the tables, from the latest state to the first. */
const expectAgreement = async (stock: BaseCheckpointSaver, ours: BaseCheckpointSaver) => {
  const [theirs, mine] = [await history(stock), await history(ours)]
  expect(mine.length).toBeGreaterThan(0)
  expect(mine).toEqual(theirs)
  const list = async (saver: BaseCheckpointSaver) => {
    const tuples = []
    for await (const tuple of saver.list(thread)) tuples.push(inCommon(tuple))
    return tuples
  }
  expect(await list(ours)).toEqual(await list(stock))
}

describe("threads in common with the stock saver", () => {
  it.each([
    ["begun by the stock saver", [0, 1, 0, 1, 0, 1]],
    ["begun by ours", [1, 0, 1, 0, 1, 0]],
    ["that change hands with each turn", [0, 0, 1, 1, 0, 0]]
  ] as const)("%s are continued by either, within turns and between them", (_, order) =>
    withBoth(async (stock, ours) => {
      await ours.setup()
      await stock.setup()
      let answers = 0
      for (const [step, which] of order.entries()) {
        const graph = compile([stock, ours][which]!)
        if (step % 2 === 0) {
          const result = await graph.invoke({ messages: [new HumanMessage(`turn ${step}`)] }, thread)
          expect(result).toHaveProperty("__interrupt__")
        } else {
          answers += 3
          const result = await graph.invoke(new Command({ resume: `answer ${step}` }), thread)
          expect(result.answers).toHaveLength(answers)
          expect(result.answers.at(-1)).toBe(`answer ${step}`)
          expect(result.messages.at(-1)).toBeInstanceOf(AIMessage)
        }
        await expectAgreement(stock, ours)
      }
    })
  )

  it("have their tables set up by either first, in its numbering", () =>
    withBoth(async (stock, ours, schema) => {
      const versions = async () =>
        (await query(`SELECT v FROM ${schema}.checkpoint_migrations ORDER BY v`)).map(({ v }) => v)
      await stock.setup()
      expect(await versions()).toEqual([0, 1, 2, 3, 4])
      await compile(stock).invoke({ messages: [new HumanMessage("hi")] }, thread)
      await ours.setup()
      expect(await versions()).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
      await stock.setup()
      await expectAgreement(stock, ours)
    }))
})

describe("what the stock saver loses", () => {
  const metadata = { source: "loop" as const, step: 1, parents: {} }

  it("is kept: a value without a version", () =>
    withBoth(async (stock, ours) => {
      await stock.setup()
      const checkpoint = {
        ...emptyCheckpoint(),
        channel_values: { __pregel_tasks: [], loose: [new HumanMessage("hi")] }
      }
      const config = await ours.put(thread, checkpoint, metadata, {})
      expect((await ours.getTuple(config))!.checkpoint).toEqual(checkpoint)
      expect((await stock.getTuple(config))!.checkpoint.channel_values).toEqual({})
    }))

  it("is kept: the latest special write of a mixed batch, and the first of the others", () =>
    withBoth(async (stock, ours) => {
      await stock.setup()
      const read = async (saver: BaseCheckpointSaver) => {
        const config = await saver.put(thread, emptyCheckpoint(), metadata, {})
        for (const n of [1, 2]) {
          await saver.putWrites(
            config,
            [
              ["__resume__", [n]],
              ["a", n],
              ["__error__", n]
            ],
            "task"
          )
        }
        return (await saver.getTuple(config))!.pendingWrites
      }
      expect(await read(ours)).toEqual([
        ["task", "__resume__", [2]],
        ["task", "__error__", 2],
        ["task", "a", 1]
      ])
      expect(await read(stock)).toContainEqual(["task", "__error__", 1])
    }))

  it("is kept: types, where the stock saver gives others", () =>
    withBoth(async (stock, ours) => {
      await stock.setup()
      const value = { when: new Date(0), amount: 2n ** 64n, rate: Number.NaN, cause: new TypeError("no") }
      const checkpoint = { ...emptyCheckpoint(), channel_values: { value }, channel_versions: { value: 1 } }
      const config = await ours.put(thread, checkpoint, { ...metadata, when: new Date(1) } as never, { value: 1 })
      const tuple = (await ours.getTuple(config))!
      expect(tuple.checkpoint.channel_values.value).toStrictEqual(value)
      expect(tuple.metadata).toStrictEqual({ ...metadata, when: new Date(1) })
      // To it they are inert records, and whatever else is in the checkpoint is there.
      expect((await stock.getTuple(config))!.checkpoint.channel_values.value).toMatchObject({
        when: { lc: 2, id: ["Date"], args: ["1970-01-01T00:00:00.000Z"] },
        cause: { name: "TypeError", message: "no" }
      })
    }))
})
