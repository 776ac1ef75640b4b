import { EventJournal, EventLogEncryption, EventLogServer, PersistedQueue } from "@effect/experimental"
import { SqlClient, SqlEventJournal, SqlEventLogServer, SqlPersistedQueue } from "@effect/sql"
import { expect, layer } from "@effect/vitest"
import { Deferred, Effect, Fiber, Layer, Schema } from "effect"
import { ServerLive } from "../server.ts"
import { onOurs, sameOnBoth } from "./stock.ts"

const QueueLive = PersistedQueue.layer.pipe(
  Layer.provide(SqlPersistedQueue.layerStore({ pollInterval: "20 millis" })),
  Layer.orDie
)

const Numbers = PersistedQueue.make({ name: "numbers", schema: Schema.NumberFromString })

layer(ServerLive, { excludeTestServices: true, timeout: "60 seconds" })("persisted queues", (it) => {
  it.effect("give each element to one taker, and none twice for the same id", () =>
    Effect.gen(function* () {
      const taken = yield* sameOnBoth(
        Effect.gen(function* () {
          const queue = yield* Numbers
          yield* Effect.forEach([1, 2, 3, 4, 5], (n) => queue.offer(n, { id: `n${n % 4}` }))
          return yield* Effect.forEach([1, 2, 3, 4], () => queue.take(Effect.succeed), { concurrency: 4 })
        }).pipe(Effect.provide(QueueLive))
      )
      expect([...taken].sort()).toEqual([1, 2, 3, 4])
    })
  )

  it.effect("give an element again when its taker failed or was interrupted", () =>
    onOurs(
      Effect.gen(function* () {
        const queue = yield* Numbers
        yield* queue.offer(1)
        expect(yield* Effect.flip(queue.take(() => Effect.fail("busy")))).toBe("busy")
        const taken = yield* Deferred.make<void>()
        const never = queue.take(() => Effect.zipRight(Deferred.succeed(taken, undefined), Effect.never))
        const fiber = yield* Effect.fork(never)
        yield* Deferred.await(taken)
        yield* Fiber.interrupt(fiber)
        expect(yield* queue.take((n, { attempts }) => Effect.succeed([n, attempts]))).toEqual([1, 1])
      }).pipe(Effect.provide(QueueLive))
    )
  )
})

layer(ServerLive, { excludeTestServices: true, timeout: "60 seconds" })("event logs", (it) => {
  it.effect("SqlEventJournal writes entries in transactions and gives them in order", () =>
    Effect.gen(function* () {
      const result = yield* sameOnBoth(
        Effect.gen(function* () {
          const sql = yield* SqlClient.SqlClient
          // The table that it makes itself has a bigint for dates and a uuid for bytes, and fails on Postgres.
          yield* sql`CREATE TABLE effect_event_journal (id bytea PRIMARY KEY, event text NOT NULL,
            primary_key text NOT NULL, payload bytea NOT NULL, timestamp timestamptz NOT NULL)`
          const journal = yield* SqlEventJournal.make()
          const write = (primaryKey: string, effect: Effect.Effect<string, string>) =>
            journal.write({ event: "Written", primaryKey, payload: new Uint8Array([1, 2]), effect: () => effect })
          return {
            written: yield* Effect.forEach(["one", "two"], (key) => write(key, Effect.succeed(`wrote ${key}`))),
            failed: yield* Effect.flip(write("three", Effect.fail("refused"))),
            entries: yield* Effect.map(journal.entries, (all) => all.map(({ primaryKey }) => primaryKey)),
            next: yield* journal.nextRemoteSequence(EventJournal.makeRemoteId())
          }
        })
      )
      expect(result).toMatchObject({ written: ["wrote one", "wrote two"], failed: { cause: "refused" } })
      expect(result.entries.slice(0, 2)).toEqual(["one", "two"])
    })
  )

  it.effect("SqlEventLogServer numbers entries, gives them from any place on, and takes none twice", () =>
    Effect.gen(function* () {
      const result = yield* sameOnBoth(
        Effect.gen(function* () {
          const storage = yield* SqlEventLogServer.makeStorage()
          const entries = [1, 2, 3].map(
            (n) =>
              new EventLogServer.PersistedEntry({
                entryId: EventJournal.EntryId.make(new Uint8Array(16).fill(n)),
                iv: new Uint8Array(12),
                encryptedEntry: new Uint8Array([n])
              })
          )
          const first = yield* storage.write("public key", entries.slice(0, 2))
          const again = yield* storage.write("public key", entries)
          const from = yield* storage.entries("public key", 2)
          const changes = yield* storage.changes("public key", 0)
          const [changed] = yield* changes.takeN(3)
          return {
            first: first.map(({ sequence }) => sequence),
            again: again.map(({ sequence }) => sequence),
            from: from.map(({ encryptedEntry }) => [...encryptedEntry]),
            changed: [...changed].length,
            sameId: Buffer.from(yield* storage.getId).equals(Buffer.from(yield* storage.getId))
          }
        }).pipe(Effect.provide(EventLogEncryption.layerSubtle))
      )
      expect(result).toMatchObject({
        from: [[2], [3]],
        changed: 3,
        sameId: true
      })
    })
  )
})
