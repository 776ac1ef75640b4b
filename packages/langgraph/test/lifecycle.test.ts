import { execFile } from "node:child_process"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"
import { CheckpointError, Checkpointer, SqlCheckpointer } from "@checkpool/checkpoint"
import { TcpRelay } from "@checkpool/embedded"
import type { SqlClient } from "@effect/sql"
import { PgClient } from "@effect/sql-pg"
import { describe, expect, it, onTestFinished } from "@effect/vitest"
import { HumanMessage } from "@langchain/core/messages"
import { emptyCheckpoint } from "@langchain/langgraph-checkpoint"
import { Effect, Exit, Layer, Redacted, Ref, Scope, Tracer } from "effect"
import Pg from "pg"
import { CheckpoolSaver, CheckpoolSaverError, type ConnectionOptions, Saver } from "../src/index.ts"
import { app, newSchema, query, server } from "./server.ts"

const metadata = { source: "input" as const, step: -1, parents: {} }
const thread = { configurable: { thread_id: "1" } }

/** Puts a checkpoint and reads it back. */
const proveWorking = async (saver: CheckpoolSaver) => {
  const values = { a: [1, new HumanMessage("hi")] }
  const checkpoint = { ...emptyCheckpoint(), channel_values: values, channel_versions: { a: 1 } }
  const config = await saver.put(thread, checkpoint, metadata, { a: 1 })
  expect(await saver.getTuple(config)).toEqual({ config, checkpoint, metadata, pendingWrites: [] })
}

const migrations = async (schema: string) =>
  (await query(`SELECT v FROM "${schema}".checkpoint_migrations ORDER BY v`)).map(({ v }) => v)

const fromUrl = (options: ConnectionOptions = {}) => CheckpoolSaver.fromConnString(server.url, options)

const newPool = (options: Pg.PoolConfig = {}) => new Pg.Pool({ connectionString: server.url, max: 2, ...options })

/** All ways to make a saver, each in a schema of its own. */
const ways: ReadonlyArray<[name: string, make: (schema: string) => CheckpoolSaver]> = [
  ["a connection string", (schema) => fromUrl({ schema })],
  ["a pg.Pool, as the stock saver is made", (schema) => new CheckpoolSaver(newPool(), undefined, { schema })],
  ["the application's runtime", (schema) => CheckpoolSaver.fromRuntime(app, { schema })],
  ["a layer", () => new CheckpoolSaver(Checkpointer.layerMemory)]
]

describe.each(ways)("a saver made from %s", (_, make) => {
  it("works without a call of setup, and with any number of them", async () => {
    await using saver = make(newSchema())
    await proveWorking(saver)
    await Promise.all([saver.setup(), saver.setup()])
    await proveWorking(saver)
  })

  it("rejects typed once it has ended, and may be ended again", async () => {
    const saver = make(newSchema())
    await saver.setup()
    await Promise.all([saver.end(), saver.end()])
    await saver.end()
    await expect(saver.getTuple(thread)).rejects.toBeInstanceOf(CheckpoolSaverError.SaverEnded)
    await expect(saver.setup()).rejects.toThrow("This CheckpoolSaver has ended")
    await expect(saver.list({}).next()).rejects.toBeInstanceOf(CheckpoolSaverError.SaverEnded)
  })

  it("may be ended before it was used, and while it is being set up", async () => {
    const unused = make(newSchema())
    await unused.end()
    const saver = make(newSchema())
    const calls = [saver.setup(), saver.getTuple(thread)]
    const settled = Promise.allSettled(calls)
    await saver.end()
    // Done or rejected, but never hanging.
    for (const result of await settled) {
      if (result.status === "rejected") expect(result.reason).toBeInstanceOf(CheckpoolSaverError.SaverEnded)
    }
    await expect(saver.getTuple(thread)).rejects.toBeInstanceOf(CheckpoolSaverError.SaverEnded)
  })

  it("is a short text in JSON", async () => {
    await using saver = make(newSchema())
    expect(JSON.stringify({ saver })).toBe('{"saver":"[CheckpoolSaver]"}')
  })
})

describe("setting up", () => {
  it("is done once for all who are first", async () => {
    const schema = newSchema()
    const built = Effect.runSync(Ref.make(0))
    const counting = Layer.effectDiscard(Ref.update(built, (n) => n + 1))
    await using saver = new CheckpoolSaver(Layer.merge(Checkpointer.layerMemory, counting))
    await Promise.all(Array.from({ length: 20 }, () => saver.getTuple(thread)))
    expect(Effect.runSync(Ref.get(built))).toBe(1)

    const savers = Array.from({ length: 6 }, () => fromUrl({ schema, maxConnections: 2 }))
    await Promise.all(savers.flatMap((saver) => [saver.setup(), saver.getTuple(thread)]))
    expect(await migrations(schema)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
    await Promise.all(savers.map((saver) => saver.end()))
  })

  it("that failed is tried again by the next call", async () => {
    let broken = true
    const layer = Layer.suspend(() => (broken ? Layer.fail(new Error("not yet")) : Checkpointer.layerMemory))
    await using saver = new CheckpoolSaver(layer)
    await expect(Promise.all([saver.setup(), saver.getTuple(thread)])).rejects.toThrow("not yet")
    broken = false
    await proveWorking(saver)
  })

  it("goes on for the others when the first caller gives up", async () => {
    const gate = Effect.runSync(Effect.makeSemaphore(1))
    await Effect.runPromise(gate.take(1))
    const layer = Layer.unwrapEffect(Effect.as(gate.withPermits(1)(Effect.void), Checkpointer.layerMemory))
    await using saver = new CheckpoolSaver(layer)
    const first = new AbortController()
    const given = saver.getTuple({ ...thread, signal: first.signal })
    const other = saver.getTuple(thread)
    first.abort()
    await expect(given).rejects.toThrow("aborted")
    await Effect.runPromise(gate.release(1))
    expect(await other).toBeUndefined()
  })

  it("says what is missing when it may only look, and leaves no connection", async () => {
    await using saver = fromUrl({ schema: newSchema(), setup: "verify", applicationName: "outdated" })
    const error = await saver.setup().catch((error) => error)
    expect(error).toBeInstanceOf(CheckpointError.SchemaOutdated)
    expect(error).toMatchObject({ have: -1, need: 9 })
    expect(await query("SELECT pid FROM pg_stat_activity WHERE application_name = 'outdated'")).toEqual([])
  })

  it("rejects typed, with the cause, when the server can't be reached", async () => {
    const url = new URL(server.url)
    url.port = "1"
    await using saver = CheckpoolSaver.fromConnString(url.href)
    const error = await saver.getTuple(thread).catch((error) => error)
    expect(error).toMatchObject({ _tag: "CheckpointerError", operation: "setup" })
    expect(error.message).toContain("ECONNREFUSED")
    expect(error.cause).toBeInstanceOf(Error)
  })
})

describe("errors", () => {
  it("are the typed ones themselves, and their stack says who called", async () => {
    await using saver = new CheckpoolSaver(Checkpointer.layerMemory)
    const whoCalls = async () => await saver.getTuple({ configurable: { thread_id: "a\0b" } })
    const error = await whoCalls().catch((error) => error)
    expect(error).toBeInstanceOf(CheckpointError.InvalidIdentifier)
    expect(error).toMatchObject({ field: "threadId", reason: "Nul" })
    expect(error.stack).toContain("whoCalls")
    const listing = async () => {
      for await (const _ of saver.list({ configurable: { thread_id: "a\0b" } }));
    }
    expect((await listing().catch((error) => error)).stack).toContain("listing")
  })

  it("say which identifier is missing", async () => {
    await using saver = new CheckpoolSaver(Checkpointer.layerMemory)
    const put = saver.put({ configurable: {} }, emptyCheckpoint(), metadata, {})
    await expect(put).rejects.toMatchObject({ _tag: "MissingIdentifier", operation: "put", field: "thread_id" })
    const putWrites = saver.putWrites(thread, [], "task")
    await expect(putWrites).rejects.toThrow("putWrites needs config.configurable.checkpoint_id")
  })

  it("say which value can't be kept, with its channel and path, and nothing is stored", async () => {
    await using saver = fromUrl({ schema: newSchema() })
    const checkpoint = { ...emptyCheckpoint(), channel_values: { plan: [{ f() {} }] }, channel_versions: { plan: 1 } }
    const error = await saver.put(thread, checkpoint, metadata, { plan: 1 }).catch((error) => error)
    expect(error).toBeInstanceOf(CheckpointError.SerializationError)
    expect(error.message).toBe(
      `Can't encode channel "plan" at [0].f: a function can't be stored; leave it out of the state`
    )
    expect(await saver.getTuple(thread)).toBeUndefined()
  })
})

describe("a connection that is killed while it is idle", () => {
  const kill = (name: string) =>
    query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1", [name])

  it("does no harm in the pool that a connection string gives", async () => {
    await using saver = fromUrl({ schema: newSchema(), applicationName: "killed idle", minConnections: 1 })
    await saver.setup()
    expect((await kill("killed idle")).length).toBeGreaterThan(0)
    await proveWorking(saver)
  })

  it("does no harm in a pg.Pool, which by itself ends the process", async () => {
    const pool = newPool({ application_name: "killed idle too" })
    await using saver = new CheckpoolSaver(pool, undefined, { schema: newSchema() })
    await saver.setup()
    expect(pool.idleCount).toBeGreaterThan(0)
    const broken = new Promise((resolve) => pool.once("remove", resolve))
    await kill("killed idle too")
    await broken
    await proveWorking(saver)
  })
})

describe("the end of a saver", () => {
  it("ends the pg.Pool that it was given, once", async () => {
    const pool = newPool()
    const saver = new CheckpoolSaver(pool, undefined, { schema: newSchema() })
    await proveWorking(saver)
    await saver.end()
    expect(pool.ended).toBe(true)
    const ended = newPool()
    await ended.end()
    await new CheckpoolSaver(ended).end()
  })

  it("waits for what is under way and leaves no connection", async () => {
    const schema = newSchema()
    const saver = fromUrl({ schema, applicationName: "ended" })
    await saver.setup()
    const checkpoints = Array.from({ length: 50 }, () => emptyCheckpoint())
    const puts = Promise.all(checkpoints.map((checkpoint) => saver.put(thread, checkpoint, metadata, {})))
    await saver.end()
    await puts
    expect(await query(`SELECT count(*)::int AS n FROM "${schema}".checkpoints`)).toEqual([{ n: 50 }])
    expect(await query("SELECT pid FROM pg_stat_activity WHERE application_name = 'ended'")).toEqual([])
  })
})

describe("a saver that is ended while it opens", () => {
  /** Calls a saver whose way to the server holds back all that is sent; `open` counts the connections on the way. */
  const call = async (make: (url: Redacted.Redacted) => CheckpoolSaver) => {
    const scope = Effect.runSync(Scope.make())
    onTestFinished(() => Effect.runPromise(Scope.close(scope, Exit.void)))
    const url = new URL(server.url)
    const target = { host: url.hostname, port: Number(url.port) }
    const relay = await Effect.runPromise(Scope.extend(TcpRelay.make({ target }), scope))
    await Effect.runPromise(relay.blackhole)
    url.host = `${relay.host}:${relay.port}`
    const saver = make(Redacted.make(url.href))
    const result = saver.setup().catch((error) => error)
    const open = () => Effect.runSync(relay.stats).open
    await expect.poll(open).toBe(1)
    return { open, restore: () => Effect.runPromise(relay.restore), result, saver }
  }

  it("gives up the connection that it waits for", async () => {
    const { open, restore, result, saver } = await call((url) =>
      CheckpoolSaver.fromConnString(Redacted.value(url), { connectTimeout: "1 hour" })
    )
    await saver.end()
    expect(await result).toBeInstanceOf(CheckpoolSaverError.SaverEnded)
    await restore()
    await expect.poll(open).toBe(0)
  })

  it("waits for a connection that can't be given up, and closes it", async () => {
    const { open, restore, result, saver } = await call((url) => {
      const client = Layer.orDie(PgClient.layer({ url, connectTimeout: "1 hour" }))
      return new CheckpoolSaver(Layer.provide(SqlCheckpointer.layer(), client))
    })
    const ended = saver.end()
    await restore()
    await ended
    expect(await result).toBeInstanceOf(CheckpoolSaverError.SaverEnded)
    await expect.poll(open).toBe(0)
  })
})

describe("an Effect application", () => {
  it("gets a saver over its own client from a layer, which ends with the layer", async () => {
    const schema = newSchema()
    const program = Effect.gen(function* () {
      const saver = yield* Saver
      yield* Effect.promise(() => proveWorking(saver))
      return saver
    })
    const saver = await app.runPromise(Effect.provide(program, CheckpoolSaver.layer({ schema })))
    expect(await migrations(schema)).toHaveLength(10)
    await expect(saver.getTuple(thread)).rejects.toBeInstanceOf(CheckpoolSaverError.SaverEnded)
  })

  it("hears from the layer why it can't be built", async () => {
    const layer = CheckpoolSaver.layer({ schema: newSchema(), setup: "verify" })
    const error = await app.runPromise(Effect.flip(Effect.scoped(Layer.build(layer))))
    expect(error).toMatchObject({ _tag: "SchemaOutdated" })
  })

  it("finds what a saver made from its runtime does in its own trace", async () => {
    const spans: Array<string> = []
    const native = Effect.runSync(Effect.tracer)
    const tracer = Tracer.make({
      context: (f, fiber) => native.context(f, fiber),
      span: (...args) => {
        spans.push(args[0])
        return native.span(...args)
      }
    })
    const runtime = await app.runPromise(
      Effect.runtime<SqlClient.SqlClient>().pipe(Effect.withSpan("request"), Effect.withTracer(tracer))
    )
    await using saver = CheckpoolSaver.fromRuntime(runtime, { schema: newSchema() })
    await saver.getTuple(thread)
    expect(spans).toContain("Checkpointer.get")
  })
})

it("leaves half of a pg.Pool to others, however many put at once", async () => {
  const pool = newPool({ max: 4 })
  await using saver = new CheckpoolSaver(pool, undefined, { schema: newSchema() })
  await saver.setup()
  let most = 0
  pool.on("acquire", () => {
    most = Math.max(most, pool.totalCount - pool.idleCount)
  })
  await Promise.all(
    Array.from({ length: 200 }, (_, i) =>
      saver.put({ configurable: { thread_id: `${i}` } }, emptyCheckpoint(), metadata, {})
    )
  )
  expect(most).toBe(2)
})

it("lets a program exit that never ends it, once its connections have been idle", async () => {
  const program = fileURLToPath(new URL("./fixtures/forgetful.mjs", import.meta.url))
  const env = { ...process.env, SAVER_SCHEMA: newSchema(), SAVER_URL: server.url }
  // Killed after the timeout, which rejects.
  const { stderr, stdout } = await promisify(execFile)(process.execPath, [program], { env, timeout: 20_000 })
  expect({ stderr, stdout }).toEqual({ stderr: "", stdout: "done" })
}, 30_000)
