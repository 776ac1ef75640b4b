import { PgPool } from "@checkpool/pg"
import {
  ClusterSchema,
  ClusterWorkflowEngine,
  Entity,
  Runner,
  RunnerAddress,
  RunnerStorage,
  ShardId,
  ShardingConfig,
  SingleRunner,
  SqlRunnerStorage
} from "@effect/cluster"
import { Rpc } from "@effect/rpc"
import { SqlClient } from "@effect/sql"
import { expect, layer } from "@effect/vitest"
import { Activity, DurableClock, DurableDeferred, Workflow } from "@effect/workflow"
import { Effect, Exit, Layer, Schema } from "effect"
import { eventually } from "../eventually.ts"
import { outside, poolLayer, ServerLive } from "../server.ts"

const RunnerLive = SingleRunner.layer({
  shardingConfig: { shardsPerGroup: 10, entityMessagePollInterval: 100, sendRetryInterval: 50 }
})

/** All tables and locks of a cluster on this layer. */
const AppLive = RunnerLive.pipe(Layer.provideMerge(poolLayer()), Layer.orDie)

const Counter = Entity.make("Counter", [
  Rpc.make("Add", {
    payload: { key: Schema.String, amount: Schema.Number },
    success: Schema.Number,
    primaryKey: ({ key }) => key
  })
]).annotateRpcs(ClusterSchema.Persisted, true)

const CounterLive = Counter.toLayer(
  Effect.sync(() => {
    let total = 0
    return Counter.of({ Add: ({ payload }) => Effect.sync(() => (total += payload.amount)) })
  })
)

layer(ServerLive, { excludeTestServices: true, timeout: "60 seconds" })("cluster storage", (it) => {
  it.effect("a persisted message is handled once, however often it is sent, also after a restart", () =>
    Effect.gen(function* () {
      const send = (key: string, amount: number) =>
        Effect.flatMap(Counter.client, (client) => client("one").Add({ key, amount }))
      const app = <A, E>(program: Effect.Effect<A, E, Layer.Layer.Success<typeof AppLive>>) =>
        Effect.provide(program, CounterLive.pipe(Layer.provideMerge(AppLive)))
      yield* app(
        Effect.gen(function* () {
          const sql = yield* SqlClient.SqlClient
          expect([yield* send("a", 2), yield* send("a", 2), yield* send("b", 3)]).toEqual([2, 2, 5])
          const replies = sql`SELECT count(*)::int AS n FROM cluster_replies`
          expect(yield* replies).toEqual([{ n: 2 }])
        })
      )
      expect(yield* app(Effect.all([send("a", 2), send("c", 7)]))).toEqual([2, 7])
    })
  )

  for (const shardLockDisableAdvisory of [false, true]) {
    const locks = shardLockDisableAdvisory ? "rows" : "advisory locks"
    it.effect(`a shard has one owner at a time, held by ${locks}, until its owner lets go or leaves`, () =>
      Effect.gen(function* () {
        const StorageLive = SqlRunnerStorage.layerWith({ prefix: `c${Number(shardLockDisableAdvisory)}` }).pipe(
          Layer.provide(ShardingConfig.layer({ shardLockDisableAdvisory })),
          Layer.provideMerge(poolLayer())
        )
        const shards = [1, 2, 3].map((id) => ShardId.make("default", id))
        const address = (port: number) => RunnerAddress.make("localhost", port)
        const ids = (owned: ReadonlyArray<ShardId.ShardId>) => owned.map(({ id }) => id).sort()
        const mine = yield* Effect.map(Layer.build(StorageLive), (context) => context)
        const me = yield* Effect.provide(RunnerStorage.RunnerStorage, mine)
        yield* Effect.scoped(
          Effect.gen(function* () {
            const theirs = yield* Layer.build(StorageLive)
            const other = yield* Effect.provide(RunnerStorage.RunnerStorage, theirs)
            const runner = Runner.make({ address: address(2), groups: ["default"], weight: 1 })
            yield* other.register(runner, true)
            expect(yield* me.getRunners).toEqual([[runner, true]])
            expect(ids(yield* other.acquire(address(2), shards))).toEqual([1, 2, 3])
            expect(ids(yield* other.refresh(address(2), shards))).toEqual([1, 2, 3])
            expect(yield* me.acquire(address(1), shards)).toEqual([])
            yield* other.release(address(2), shards[1]!)
            expect(ids(yield* me.acquire(address(1), shards))).toEqual([2])
            if (shardLockDisableAdvisory) yield* other.releaseAll(address(2))
          })
        )
        // Its pool is gone: a lock that had stayed with some session would never be free again.
        yield* eventually(Effect.map(me.acquire(address(1), shards), ids), (owned) => owned.length === 3)
        expect(yield* Effect.flatMap(Effect.provide(PgPool.PgPool, mine), (pool) => pool.stats)).toMatchObject({
          leased: 1,
          waiting: 0
        })
      }).pipe(Effect.scoped)
    )
  }

  it.effect("a shard's lock survives the loss of the connection that held it", () =>
    Effect.gen(function* () {
      const storage = yield* RunnerStorage.RunnerStorage
      const shards = [ShardId.make("default", 1)]
      const me = RunnerAddress.make("localhost", 1)
      expect(yield* storage.acquire(me, shards)).toEqual(shards)
      yield* outside(
        Effect.flatMap(
          SqlClient.SqlClient,
          (sql) => sql`SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'`
        )
      )
      yield* eventually(
        Effect.orElseSucceed(storage.refresh(me, shards), () => []),
        (owned) => owned.length === 1
      )
    }).pipe(
      Effect.provide(
        SqlRunnerStorage.layerWith({ prefix: "lost" }).pipe(
          Layer.provide(ShardingConfig.layer()),
          Layer.provide(poolLayer())
        )
      )
    )
  )
})

const Approval = DurableDeferred.make("Approval", { success: Schema.String })

const Order = Workflow.make({
  name: "Order",
  payload: { id: Schema.String },
  success: Schema.String,
  error: Schema.String,
  idempotencyKey: ({ id }) => id
})

/** Activities that were really run, in all lives of the app. */
const runs: Array<string> = []

const OrderLive = Order.toLayer(
  Effect.fnUntraced(function* ({ id }) {
    const price = yield* Activity.make({
      name: "Price",
      success: Schema.Number,
      error: Schema.String,
      execute: Effect.suspend(() => {
        runs.push(`price of ${id}`)
        return runs.length < 3 ? Effect.fail("not yet") : Effect.succeed(42)
      })
    }).pipe(Activity.retry({ times: 5 }))
    yield* DurableClock.sleep({ name: "Pause", duration: "50 millis", inMemoryThreshold: 0 })
    return `${id}: ${price}, ${yield* DurableDeferred.await(Approval)}`
  })
)

layer(ServerLive, { excludeTestServices: true, timeout: "60 seconds" })("workflow storage", (it) => {
  it.effect("a workflow goes on where it was after a restart, without doing again what was done", () =>
    Effect.gen(function* () {
      const WorkflowLive = OrderLive.pipe(Layer.provideMerge(ClusterWorkflowEngine.layer), Layer.provideMerge(AppLive))
      const executionId = yield* Effect.gen(function* () {
        const executionId = yield* Order.execute({ id: "o1" }, { discard: true })
        // Waits for the approval: its clock has rung.
        yield* eventually(Order.poll(executionId), (result) => result?._tag === "Suspended")
        return executionId
      }).pipe(Effect.provide(WorkflowLive))
      expect(runs).toEqual(["price of o1", "price of o1", "price of o1"])
      const result = yield* Effect.gen(function* () {
        const token = DurableDeferred.tokenFromExecutionId(Approval, { workflow: Order, executionId })
        yield* DurableDeferred.done(Approval, { token, exit: Exit.succeed("approved") })
        return yield* Order.execute({ id: "o1" })
      }).pipe(Effect.provide(WorkflowLive))
      expect(result).toBe("o1: 42, approved")
      expect(runs.length).toBe(3)
    })
  )
})
