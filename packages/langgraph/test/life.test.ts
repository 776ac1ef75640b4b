import { CheckpointError } from "@checkpool/checkpoint"
import { describe, expect, it } from "@effect/vitest"
import { Annotation, type BaseCheckpointSaver, Command, END, interrupt, START, StateGraph } from "@langchain/langgraph"
import { CheckpoolSaver } from "../src/index.ts"
import { app, newSchema, query } from "./server.ts"

const compile = (checkpointer: BaseCheckpointSaver) =>
  new StateGraph(
    Annotation.Root({ log: Annotation<Array<string>>({ reducer: (a, b) => [...a, ...b], default: () => [] }) })
  )
    .addNode("work", () => ({ log: ["work"] }))
    .addNode("ask", () => ({ log: [interrupt("and?") as string] }))
    .addEdge(START, "work")
    .addEdge("work", "ask")
    .addEdge("ask", END)
    .compile({ checkpointer })

const thread = (thread_id: string) => ({ configurable: { thread_id } })

const count = async (saver: CheckpoolSaver, thread_id: string) => {
  let n = 0
  for await (const _ of saver.list(thread(thread_id))) n++
  return n
}

/** A thread with two finished turns and one that waits for an answer. */
const begin = async (saver: CheckpoolSaver, thread_id: string) => {
  const graph = compile(saver)
  for (const turn of ["1", "2"]) {
    await graph.invoke({ log: [`turn ${turn}`] }, thread(thread_id))
    await graph.invoke(new Command({ resume: `answer ${turn}` }), thread(thread_id))
  }
  await graph.invoke({ log: ["turn 3"] }, thread(thread_id))
  return graph
}

describe("the life of threads", () => {
  it("copies a thread that waits, which then goes on by itself", async () => {
    await using saver = CheckpoolSaver.fromRuntime(app, { schema: newSchema() })
    const graph = await begin(saver, "a")
    await saver.copyThread("a", "b")
    expect(await count(saver, "b")).toBe(await count(saver, "a"))
    const copied = await graph.invoke(new Command({ resume: "answer of b" }), thread("b"))
    expect(copied.log.slice(-2)).toEqual(["work", "answer of b"])
    expect((await graph.getState(thread("a"))).next).toEqual(["ask"])
    await saver.copyThread("unknown", "c")
    expect(await count(saver, "c")).toBe(0)
    await expect(saver.copyThread("a", "b")).rejects.toBeInstanceOf(CheckpointError.ThreadExists)
  })

  it("thins out a history, after which the graph goes on as if nothing had happened", async () => {
    const schema = newSchema()
    await using saver = CheckpoolSaver.fromRuntime(app, { schema })
    const graph = await begin(saver, "a")
    await begin(saver, "b")
    const [before, state] = [await count(saver, "a"), await graph.getState(thread("a"))]
    const report = await saver.prune(["a", "b", "unknown"], { grace: 0 })
    expect(report).toMatchObject({ checkpoints: 2 * (before - 1), waiting: 0 })
    expect(await count(saver, "a")).toBe(1)
    expect((await graph.getState(thread("a"))).values).toEqual(state.values)
    expect((await graph.getState(thread("a"))).tasks).toEqual(state.tasks)
    const { log } = await graph.invoke(new Command({ resume: "answer 3" }), thread("a"))
    expect(log).toEqual([...state.values.log, "answer 3"])
  })

  it("deletes threads by the other strategy, and nothing of them is left", async () => {
    const schema = newSchema()
    await using saver = CheckpoolSaver.fromRuntime(app, { schema })
    for (const id of ["a", "b", "c"]) await begin(saver, id)
    expect(await saver.prune(["a", "b"], { strategy: "delete" })).toBeUndefined()
    for (const table of ["checkpoints", "checkpoint_blobs", "checkpoint_writes"]) {
      expect(await query(`SELECT DISTINCT thread_id FROM "${schema}".${table}`)).toEqual([{ thread_id: "c" }])
    }
  })

  it("deletes what a run has left, if its id was taken along", async () => {
    await using saver = CheckpoolSaver.fromRuntime(app, { schema: newSchema(), metadataFrom: ["run_id"] })
    const graph = compile(saver)
    const run = (run_id: string) => ({ configurable: { thread_id: "a", run_id } })
    await graph.invoke({ log: ["turn 1"] }, run("run 1"))
    const [kept, { config }] = [await count(saver, "a"), await graph.getState(thread("a"))]
    await graph.invoke(new Command({ resume: "answer" }), run("run 2"))
    expect(await count(saver, "a")).toBeGreaterThan(kept)
    await saver.deleteForRuns(["run 2", "unknown"])
    expect(await count(saver, "a")).toBe(kept)
    expect((await graph.getState(thread("a"))).config).toEqual(config)
  })
})
