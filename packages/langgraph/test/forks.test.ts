import { describe, expect, it } from "@effect/vitest"
import { Annotation, type BaseCheckpointSaver, END, MemorySaver, START, StateGraph } from "@langchain/langgraph"
import { CheckpoolSaver } from "../src/index.ts"
import { app, withBoth } from "./server.ts"

const State = Annotation.Root({
  log: Annotation<Array<string>>({ reducer: (log, more) => [...log, ...more], default: () => [] }),
  last: Annotation<string>
})

/** Each call adds what it is given, in two steps. */
const compile = (checkpointer: BaseCheckpointSaver) =>
  new StateGraph(State)
    .addNode("first", ({ last }) => ({ log: [`1 ${last}`] }))
    .addNode("second", ({ last, log }) => ({ log: [`2 ${last} of ${log.length}`] }))
    .addEdge(START, "first")
    .addEdge("first", "second")
    .addEdge("second", END)
    .compile({ checkpointer })

type App = ReturnType<typeof compile>
type Config = Awaited<ReturnType<App["updateState"]>>

const thread = { configurable: { thread_id: "forked" } }

const begin = async (saver: BaseCheckpointSaver): Promise<Config> => {
  const graph = compile(saver)
  await graph.invoke({ last: "a" }, thread)
  await graph.invoke({ last: "b" }, thread)
  return (await graph.getState(thread)).config
}

/** Two branches from one checkpoint, and what each of them reads. */
const forkTwice = async (graph: App, from: Config) => {
  const forks = [await graph.updateState(from, { log: ["A"] }), await graph.updateState(from, { log: ["B"] })]
  return Promise.all(forks.map(async (fork) => (await graph.getState(fork)).values.log.at(-1)))
}

describe("two branches from one checkpoint", () => {
  it("never see each other's values, on threads begun by ours or by the stock saver", () =>
    withBoth(async (stock, ours) => {
      await stock.setup()
      for (const beginner of [ours, stock]) {
        await ours.deleteThread("forked")
        const from = await begin(beginner)
        expect(await forkTwice(compile(ours), from)).toEqual(["A", "B"])
      }
    }))

  it("would share a value if versions were whole numbers, as the stock saver shows", () =>
    withBoth(async (stock) => {
      await stock.setup()
      expect(await forkTwice(compile(stock), await begin(stock))).toEqual(["A", "A"])
    }))

  it("that run at the same time, in savers of their own, end each with its own log", () =>
    withBoth(async (stock, ours, schema) => {
      await stock.setup()
      const from = await begin(stock)
      const before: Array<string> = (await compile(ours).getState(from)).values.log
      const branches = await Promise.all(
        Array.from({ length: 8 }, async (_, i) => {
          await using saver = CheckpoolSaver.fromRuntime(app, { schema })
          const graph = compile(saver)
          const fork = await graph.updateState(from, { last: `fork ${i}`, log: [`fork ${i}`] }, "second")
          return [i, (await graph.invoke({ last: `run ${i}` }, fork)).log, await logAt(graph, fork)] as const
        })
      )
      for (const [i, log, stored] of branches) {
        const own = [`fork ${i}`, `1 run ${i}`, `2 run ${i} of ${before.length + 2}`]
        expect(log).toEqual([...before, ...own])
        expect(stored).toEqual([...before, `fork ${i}`])
      }
    }))

  it.each([1, 2, 3])("agree with the saver in memory after random forks and runs (seed %i)", (seed) =>
    withBoth(async (stock, ours) => {
      await stock.setup()
      const memory = compile(new MemorySaver())
      const both = { memory: [] as Array<Config>, ours: [] as Array<Config> }
      both.memory.push(await begin(memory.checkpointer as MemorySaver))
      // What the stock saver began goes on with ours.
      both.ours.push(await begin(seed % 2 === 0 ? stock : ours))
      const graph = compile(ours)
      const random = randomFrom(seed)
      for (let step = 0; step < 12; step++) {
        const at = Math.floor(random() * both.ours.length)
        const runs = random() < 0.5
        for (const [graphOf, configs] of [
          [memory, both.memory],
          [graph, both.ours]
        ] as const) {
          const from = configs[at]!
          if (runs) {
            await graphOf.invoke({ last: `step ${step}` }, from)
            configs.push((await graphOf.getState(thread)).config)
          } else {
            configs.push(await graphOf.updateState(from, { log: [`step ${step}`] }, "second"))
          }
        }
      }
      for (const [i, config] of both.ours.entries()) {
        const [expected, found] = [await memory.getState(both.memory[i]!), await graph.getState(config)]
        expect(found.values).toEqual(expected.values)
        expect(found.next).toEqual(expected.next)
      }
    })
  )
})

const logAt = async (graph: App, config: Config) => (await graph.getState(config)).values.log

/** Numbers from 0 to below 1 (a linear congruential generator). */
const randomFrom = (seed: number) => {
  let state = seed
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return state / 2 ** 32
  }
}
