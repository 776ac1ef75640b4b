import { getEventListeners } from "node:events"
import { Checkpointer } from "@checkpool/checkpoint"
import { describe, expect, it } from "@effect/vitest"
import { AIMessage, type BaseMessage, HumanMessage } from "@langchain/core/messages"
import {
  Annotation,
  type BaseCheckpointSaver,
  DeltaChannel,
  END,
  MemorySaver,
  messagesDeltaReducer,
  START,
  StateGraph
} from "@langchain/langgraph"
import { emptyCheckpoint, uuid6 } from "@langchain/langgraph-checkpoint"
import { Context, Effect, Layer, Stream } from "effect"
import Pg from "pg"
import { CheckpoolSaver } from "../src/index.ts"
import { newSchema, query, server } from "./server.ts"

const thread = { configurable: { thread_id: "1" } }
const metadata = { source: "loop" as const, step: 1, parents: {} }

/** A saver whose statements are counted. */
const counted = async () => {
  const counts = { statements: 0 }
  class Counting extends Pg.Client {
    constructor(options?: string | Pg.ClientConfig) {
      super(options)
      const query = this.query.bind(this) as (...args: ReadonlyArray<unknown>) => never
      this.query = (...args: ReadonlyArray<unknown>) => {
        counts.statements++
        return query(...args)
      }
    }
  }
  const pool = new Pg.Pool({ connectionString: server.url, max: 2, Client: Counting } as Pg.PoolConfig)
  const saver = new CheckpoolSaver(pool, undefined, { schema: newSchema() })
  await saver.setup()
  const count = async <A>(f: () => Promise<A>) => {
    const before = counts.statements
    const result = await f()
    return [result, counts.statements - before] as const
  }
  return { saver, count }
}

/** A chain of checkpoints; gives their configurations. */
const chain = async (saver: BaseCheckpointSaver, length: number) => {
  let config: Parameters<BaseCheckpointSaver["put"]>[0] = thread
  const configs = []
  for (let step = 1; step <= length; step++) {
    const values = { channel_values: { a: step, b: [step] }, channel_versions: { a: step, b: step } }
    config = await saver.put(
      config,
      { ...emptyCheckpoint(), ...values, id: uuid6(step) },
      metadata,
      values.channel_versions
    )
    await saver.putWrites(config, [["a", step + 1]], `task ${step}`, "path")
    configs.push(config)
  }
  return configs
}

describe("each operation", () => {
  it("is one statement", async () => {
    const { count, saver } = await counted()
    const [configs, puts] = await count(() => chain(saver, 40))
    expect(puts).toBe(80)
    const [, empty] = await count(() => saver.putWrites(configs[0]!, [], "task"))
    const [latest, latestCost] = await count(() => saver.getTuple(thread))
    const [first, firstCost] = await count(() => saver.getTuple(configs[0]!))
    expect([empty, latestCost, firstCost]).toEqual([0, 1, 1])
    expect([latest!.config, first!.config]).toEqual([configs.at(-1), configs[0]])
    const [history, historyCost] = await count(() =>
      saver.getDeltaChannelHistory({ config: thread, channels: ["a", "none"] })
    )
    expect(historyCost).toBe(1)
    expect(history).toEqual({
      a: { writes: [["task 39", "a", 40]], seed: 39 },
      none: { writes: [] }
    })
    expect(await saver.getDeltaChannelHistory({ config: {}, channels: ["a"] })).toEqual({ a: { writes: [] } })
    await saver.end()
  })

  it("of a list reads page by page, and no further than it is consumed", async () => {
    const { count, saver } = await counted()
    const configs = await chain(saver, 70)
    const take = (n: number) => async () => {
      const found = []
      for await (const { config } of saver.list(thread)) if (found.push(config) === n) break
      return found
    }
    expect(await count(take(10))).toEqual([configs.toReversed().slice(0, 10), 1])
    expect(await count(take(33))).toEqual([configs.toReversed().slice(0, 33), 2])
    const [all, pages] = await count(take(1000))
    expect(all).toEqual(configs.toReversed())
    expect(pages).toBe(3)
    await saver.end()
  })

  it("of a list closes what the list has opened when it is left before its end", async () => {
    let closed = 0
    const watched = Layer.map(Checkpointer.layerMemory, (context) => {
      const memory = Context.get(context, Checkpointer.Checkpointer)
      const list: typeof memory.list = (options) =>
        Stream.ensuring(
          memory.list(options),
          Effect.sync(() => closed++)
        )
      return Context.make(Checkpointer.Checkpointer, { ...memory, list })
    })
    await using saver = new CheckpoolSaver(watched)
    await chain(saver, 2)
    for await (const _ of saver.list(thread)) {
      expect(closed).toBe(0)
      break
    }
    expect(closed).toBe(1)
  })
})

describe("a delta channel", () => {
  const compile = (checkpointer: BaseCheckpointSaver) =>
    new StateGraph(
      Annotation.Root({
        messages: () => new DeltaChannel<Array<BaseMessage>>(messagesDeltaReducer as never, { snapshotFrequency: 7 })
      })
    )
      .addNode("say", (state) => ({
        messages: [new AIMessage({ content: `${state.messages.length}`, id: `say ${state.messages.length}` })]
      }))
      .addEdge(START, "say")
      .addEdge("say", END)
      .compile({ checkpointer })

  it("is built up again as from the saver in memory, in one more statement for each run", async () => {
    const { count, saver } = await counted()
    const [graph, memory] = [compile(saver), compile(new MemorySaver())]
    for (let turn = 0; turn < 10; turn++) {
      const input = { messages: [new HumanMessage({ content: "hi", id: `${turn}` })] }
      expect(await graph.invoke(input, thread)).toEqual(await memory.invoke(input, thread))
    }
    const [state, cost] = await count(() => graph.getState(thread))
    expect(cost).toBe(2)
    expect(state.values).toEqual((await memory.getState(thread)).values)
    await saver.end()
  })
})

describe("a pool of one connection", () => {
  const schema = () => ({ schema: newSchema() })
  const ways: ReadonlyArray<[name: string, make: () => CheckpoolSaver | Promise<CheckpoolSaver>]> = [
    ["its own", () => CheckpoolSaver.fromConnString(server.url, { maxConnections: 1, ...schema() })],
    ["a pg.Pool", () => new CheckpoolSaver(new Pg.Pool({ connectionString: server.url, max: 1 }), undefined, schema())]
  ]
  it.each(ways)("(%s) suffices to read and write while a list is consumed", async (_, make) => {
    await using saver = await make()
    const configs = await chain(saver, 40)
    let seen = 0
    for await (const tuple of saver.list(thread)) {
      seen++
      expect((await saver.getTuple(tuple.config))!.checkpoint).toEqual(tuple.checkpoint)
      await saver.putWrites(tuple.config, [["a", 0]], "while reading")
    }
    expect(seen).toBe(configs.length)
  })
})

describe("the signal of a run", () => {
  const running = async (name: string) =>
    (await query("SELECT 1 FROM pg_stat_activity WHERE application_name = $1 AND state = 'active'", [name])).length

  const until = async (condition: () => Promise<boolean>) => {
    while (!(await condition())) await new Promise((resolve) => setTimeout(resolve, 5))
  }

  /** A saver whose tables are locked until `unlock` or the end of `f`. */
  const locked = async (
    name: string,
    f: (saver: CheckpoolSaver, unlock: () => Promise<unknown>, schema: string) => Promise<void>
  ): Promise<void> => {
    const schema = newSchema()
    await using saver = CheckpoolSaver.fromConnString(server.url, { schema, applicationName: name, maxConnections: 2 })
    await saver.setup()
    const locker = new Pg.Client({ connectionString: server.url })
    await locker.connect()
    try {
      await locker.query(`BEGIN; LOCK TABLE "${schema}".checkpoints`)
      await f(saver, () => locker.query("COMMIT"), schema)
    } finally {
      await locker.end()
    }
  }

  it.each([
    ["getTuple", (saver: CheckpoolSaver, signal: AbortSignal) => saver.getTuple({ ...thread, signal })],
    ["list", (saver: CheckpoolSaver, signal: AbortSignal) => saver.list({ ...thread, signal }).next()],
    [
      "getDeltaChannelHistory",
      (saver: CheckpoolSaver, signal: AbortSignal) =>
        saver.getDeltaChannelHistory({ config: { ...thread, signal }, channels: ["a"] })
    ]
  ] as const)("rejects %s with its reason, and stops the query on the server", (name, call) =>
    locked(`aborted ${name}`, async (saver) => {
      const controller = new AbortController()
      const result = call(saver, controller.signal).catch((error) => error)
      await until(async () => (await running(`aborted ${name}`)) > 0)
      const reason = new Error("the user left")
      controller.abort(reason)
      expect(await result).toBe(reason)
      await until(async () => (await running(`aborted ${name}`)) === 0)
      expect(getEventListeners(controller.signal, "abort")).toEqual([])
    })
  )

  it("is still heard by one call when another one with the same signal has ended", () =>
    locked("one of two", async (saver) => {
      const controller = new AbortController()
      const { signal } = controller
      const waiting = saver.getTuple({ ...thread, signal }).catch((error) => error)
      await until(async () => (await running("one of two")) > 0)
      await expect(saver.getTuple({ configurable: { thread_id: "\0" }, signal })).rejects.toThrow("NUL")
      const reason = new Error("the user left")
      controller.abort(reason)
      expect(await waiting).toBe(reason)
    }))

  it("rejects in the same turn of the event loop, without waiting for the server", () =>
    locked("aborted at once", async (saver, _, schema) => {
      // Its client waits for the server to take note.
      const pool = new Pg.Pool({ connectionString: server.url, application_name: "aborted at once" })
      await using overPool = new CheckpoolSaver(pool, undefined, { schema, setup: "none" })
      const controller = new AbortController()
      const { signal } = controller
      const reason = new Error("the user left")
      const at = { configurable: { thread_id: "1", checkpoint_id: "1" }, signal }
      const calls = [saver.getTuple(at), saver.putWrites(at, [["a", 1]], "task"), overPool.getTuple(at)]
      const results = calls.map((call) => call.catch((error) => error))
      await until(async () => (await running("aborted at once")) === 3)
      controller.abort(reason)
      const late = new Promise((resolve) => setImmediate(resolve, "late"))
      const all = await Promise.all(results.map((result) => Promise.race([result, late])))
      expect(all).toEqual([reason, reason, reason])
    }))

  it("rejects a put at once, which is then stored whole or not at all", () =>
    locked("aborted put", async (saver, unlock) => {
      const controller = new AbortController()
      const checkpoint = { ...emptyCheckpoint(), channel_values: { a: 1 }, channel_versions: { a: 1 } }
      const put = saver.put({ ...thread, signal: controller.signal }, checkpoint, metadata, { a: 1 })
      const result = put.catch((error) => error)
      await until(async () => (await running("aborted put")) > 0)
      controller.abort(new Error("the user left"))
      expect((await result).message).toBe("the user left")
      // It had been sent, and what others may share with it is not cancelled.
      await unlock()
      await until(async () => (await saver.getTuple(thread)) !== undefined)
      expect((await saver.getTuple(thread))!.checkpoint).toEqual(checkpoint)
    }))

  it("rejects a run of a graph that waits for the database", () =>
    locked("aborted run", async (saver) => {
      const graph = new StateGraph(Annotation.Root({ a: Annotation<number> }))
        .addNode("n", () => ({ a: 1 }))
        .addEdge(START, "n")
        .compile({ checkpointer: saver })
      const controller = new AbortController()
      const run = graph.invoke({ a: 0 }, { ...thread, signal: controller.signal }).catch((error) => error)
      await until(async () => (await running("aborted run")) > 0)
      controller.abort()
      expect((await run).message).toMatch(/abort/i)
      await until(async () => (await running("aborted run")) === 0)
    }))

  it("is not even asked when it was aborted before", async () => {
    await using saver = CheckpoolSaver.fromConnString("postgres://nowhere.invalid/")
    const signal = AbortSignal.abort(new Error("before"))
    await expect(saver.getTuple({ ...thread, signal })).rejects.toThrow("before")
  })

  it("is listened to once, however many calls wait at the same time, and aborts all of them", () =>
    locked("aborted many", async (saver) => {
      const controller = new AbortController()
      const { signal } = controller
      const calls = Array.from({ length: 30 }, () => saver.getTuple({ ...thread, signal }).catch((error) => error))
      await until(async () => (await running("aborted many")) > 0)
      expect(getEventListeners(signal, "abort")).toHaveLength(1)
      controller.abort(new Error("all of it"))
      expect(new Set((await Promise.all(calls)).map(({ message }) => message))).toEqual(new Set(["all of it"]))
      expect(getEventListeners(signal, "abort")).toEqual([])
    }))

  it("is not listened to any longer once a call is done", async () => {
    await using saver = CheckpoolSaver.fromConnString(server.url, { schema: newSchema() })
    const { signal } = new AbortController()
    for (let i = 0; i < 20; i++) await saver.getTuple({ ...thread, signal })
    for await (const _ of saver.list({ ...thread, signal }));
    expect(getEventListeners(signal, "abort")).toEqual([])
  })
})

describe("metadata from a run's configuration", () => {
  it("are there to filter by", async () => {
    await using saver = CheckpoolSaver.fromConnString(server.url, { schema: newSchema(), metadataFrom: ["user"] })
    for (const user of ["ada", "bob", "ada"]) {
      await saver.put({ configurable: { ...thread.configurable, user } }, emptyCheckpoint(), metadata, {})
    }
    const found = []
    for await (const tuple of saver.list({}, { filter: { user: "ada" } })) found.push(tuple.metadata)
    expect(found).toEqual([
      { ...metadata, user: "ada" },
      { ...metadata, user: "ada" }
    ])
  })
})
