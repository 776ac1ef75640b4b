/**
 * One graph on LangGraph's own saver and on this one, side by side on the same server: statements, round trips and time for
 * each step.
 *
 *     tsc -b packages/langgraph/benchmark && node packages/langgraph/benchmark/dist/graph.js [rounds] [the begin of a line]
 *
 * The graph is an agent's loop whose nodes take no time: a model and a tool take turns, each adds a message of 1 KB and
 * changes one other channel. A run has 12 steps. The savers take turns within a round, so that what else the machine does
 * hits both; shown are medians over the rounds, and how many times faster ours is, with the middle half of these ratios.
 */
import { EmbeddedPostgres, TcpRelay } from "@checkpool/embedded"
import { CheckpoolSaver } from "@checkpool/langgraph"
import { AIMessage, HumanMessage, ToolMessage } from "@langchain/core/messages"
import { Annotation, type BaseCheckpointSaver, END, MessagesAnnotation, START, StateGraph } from "@langchain/langgraph"
import { PostgresSaver } from "@langchain/langgraph-checkpoint-postgres"
import { Effect, Redacted } from "effect"
import Pg from "pg"

const rounds = Number(process.argv[2] ?? 9)
const only = process.argv[3]
const steps = 12

const State = Annotation.Root({ ...MessagesAnnotation.spec, plan: Annotation<string>, found: Annotation<number> })

const text = "what an agent has to say, at some length. ".repeat(25)

const compile = (checkpointer: BaseCheckpointSaver) =>
  new StateGraph(State)
    .addNode("model", ({ messages }) => ({
      messages: [
        new AIMessage({ content: text, tool_calls: [{ name: "look", args: {}, id: `call ${messages.length}` }] })
      ],
      plan: `look for the ${messages.length}th time`
    }))
    .addNode("tool", ({ messages }) => ({
      messages: [new ToolMessage({ content: text, tool_call_id: `call ${messages.length - 1}` })],
      found: messages.length
    }))
    .addEdge(START, "model")
    .addEdge("model", "tool")
    .addConditionalEdges("tool", ({ messages }) => (messages.length <= steps ? "model" : END))
    .compile({ checkpointer })

type Durability = "sync" | "async"

let threads = 0

/** Runs the graph on that many new threads at once; gives the milliseconds for each step. */
const run = async (saver: BaseCheckpointSaver, runs: number, durability: Durability): Promise<number> => {
  const graph = compile(saver)
  const start = performance.now()
  await Promise.all(
    Array.from({ length: runs }, () =>
      graph.invoke(
        { messages: [new HumanMessage(text)] },
        { configurable: { thread_id: `thread ${++threads}` }, durability, recursionLimit: 100 }
      )
    )
  )
  return (performance.now() - start) / (runs * steps)
}

/** Both drivers send a statement and wait for its answer before they send the next one on that connection. */
let statements = 0
const query: (this: Pg.Client, ...args: Array<unknown>) => unknown = Pg.Client.prototype.query
Pg.Client.prototype.query = function (this: Pg.Client, ...args: Array<unknown>) {
  statements++
  return query.apply(this, args)
} as typeof Pg.Client.prototype.query

const statementsOf = async (f: () => Promise<unknown>): Promise<number> => {
  const before = statements
  await f()
  return statements - before
}

const quantile = (values: ReadonlyArray<number>, q: number): number =>
  values.toSorted((a, b) => a - b)[Math.min(values.length - 1, Math.floor(q * values.length))]!

const savers = async (url: string) => {
  const stock = PostgresSaver.fromConnString(url)
  const ours = CheckpoolSaver.fromConnString(url)
  await stock.setup()
  await ours.setup()
  // Connections, prepared statements, compilers.
  for (let i = 0; i < 5; i++) for (const saver of [stock, ours]) await run(saver, 16, "async")
  return [stock, ours] as const
}

const compare = async (url: string, what: string, runs: number, durability: Durability, count: number) => {
  if (only !== undefined && !`${what}, ${durability}`.startsWith(only)) return [0, 0]
  const both = await savers(url)
  const times: Array<readonly [number, number]> = []
  for (let round = 0; round < count; round++) {
    const of = [0, 0] as [number, number]
    for (const i of round % 2 === 0 ? [0, 1] : [1, 0]) of[i as 0 | 1] = await run(both[i as 0 | 1], runs, durability)
    times.push(of)
  }
  for (const saver of both) await saver.end()
  const [stock, ours] = [0, 1].map((i) =>
    quantile(
      times.map((of) => of[i as 0 | 1]),
      0.5
    )
  )
  const ratios = times.map(([stock, ours]) => stock / ours)
  const [low, middle, high] = [0.25, 0.5, 0.75].map((q) => quantile(ratios, q).toFixed(1))
  console.log(
    `| ${what}, ${durability} | ${stock!.toFixed(2)} ms | ${ours!.toFixed(2)} ms | **${middle}×** (${low}–${high}) |`
  )
  return [stock!, ours!] as const
}

const main = Effect.gen(function* () {
  const server = yield* EmbeddedPostgres.EmbeddedPostgres
  const near = Redacted.value(server.url)
  const relay = yield* TcpRelay.make({ target: { host: server.host, port: server.port } })
  yield* relay.setRoundTrip("10 millis")
  const far = new URL(near)
  far.host = `${relay.host}:${relay.port}`

  yield* Effect.promise(async () => {
    const [stock, ours] = await savers(near)
    const lines: Array<string> = []
    for (const [what, f] of [
      [`a run of ${steps} steps`, (saver: BaseCheckpointSaver) => run(saver, 1, "sync")],
      ["16 of them at once", (saver: BaseCheckpointSaver) => run(saver, 16, "sync")],
      [
        "a thread's latest state",
        (saver: BaseCheckpointSaver) => saver.getTuple({ configurable: { thread_id: "thread 1" } })
      ],
      ["deleting a thread", (saver: BaseCheckpointSaver) => saver.deleteThread("thread 2")]
    ] as const) {
      const counts = [await statementsOf(() => f(stock)), await statementsOf(() => f(ours))]
      lines.push(`| ${what} | ${counts.join(" | ")} |`)
    }
    console.log(`| statements | PostgresSaver | CheckpoolSaver |\n| --- | --- | --- |\n${lines.join("\n")}\n`)
    await stock.end()
    await ours.end()

    console.log("| time for each step | PostgresSaver | CheckpoolSaver | faster |\n| --- | --- | --- | --- |")
    const lone = await compare(near, "loopback, one run", 1, "sync", rounds)
    await compare(near, "loopback, one run", 1, "async", rounds)
    await compare(near, "loopback, 16 runs at once", 16, "async", rounds)
    const away = await compare(far.href, "10 ms away, one run", 1, "sync", Math.ceil(rounds / 2))
    await compare(far.href, "10 ms away, one run", 1, "async", Math.ceil(rounds / 2))
    await compare(far.href, "10 ms away, 16 runs at once", 16, "async", Math.ceil(rounds / 2))
    const trips = [0, 1].map((i) => ((away[i as 0 | 1] - lone[i as 0 | 1]) / 10).toFixed(1))
    console.log(
      `\nRound trips that a step waits for, by the time that 10 ms each add: ${trips[0]} with PostgresSaver, ${trips[1]} with CheckpoolSaver.`
    )
  })
})

Effect.runPromise(Effect.scoped(Effect.provide(main, EmbeddedPostgres.layer()))).catch((error) => {
  console.error(error)
  process.exitCode = 1
})
