/** JSON is read as the text that it is. What if it is none, or none that the database has the characters for? */
import { type Checkpoint, Checkpointer, Codec, SqlCheckpointer } from "@checkpool/checkpoint"
import { SqlClient } from "@effect/sql"
import { expect, it, layer } from "@effect/vitest"
import { Effect, Layer, Option } from "effect"
import { memoMap, open, pool, stock } from "./database.ts"

const text = 'naïve "日本" 🙂\n'

const put = (threadId: string) =>
  Effect.flatMap(Checkpointer.Checkpointer, (checkpointer) => {
    const checkpoint: Checkpoint.Checkpoint = {
      v: 4,
      id: "1",
      ts: "2026-01-02T03:04:05.678Z",
      channel_values: { text, object: { list: [text, null] }, bytes: Uint8Array.of(0, 255), nothing: null },
      channel_versions: { text: 1, object: 1, bytes: 1, nothing: 1 },
      versions_seen: {}
    }
    const { channel_versions: newVersions } = checkpoint
    return Effect.as(checkpointer.put({ threadId, checkpoint, metadata: {}, newVersions }), checkpoint)
  })

const get = (threadId: string) =>
  Effect.flatMap(Checkpointer.Checkpointer, (checkpointer) =>
    Effect.map(checkpointer.get({ threadId }), (found) => Option.getOrThrow(found).checkpoint)
  )

for (const [name, client] of [
  ["our pool", pool],
  ["stock sql-pg", stock()]
] as const) {
  layer(SqlCheckpointer.layer().pipe(Layer.provideMerge(client)), { memoMap, timeout: "60 seconds" })(
    `JSON that is read on ${name}`,
    (it) => {
      it.effect("is the same in and outside of a transaction", () =>
        Effect.gen(function* () {
          const sql = yield* SqlClient.SqlClient
          const checkpoint = yield* put(name)
          expect(yield* get(name)).toEqual(checkpoint)
          expect(yield* sql.withTransaction(get(name))).toEqual(checkpoint)
        })
      )

      it.effect("and is no UTF-8 is refused with its channel, and a caller's transaction goes on", () =>
        Effect.gen(function* () {
          const sql = yield* SqlClient.SqlClient
          const threadId = `broken on ${name}`
          yield* put(threadId)
          yield* sql`UPDATE checkpoint_blobs SET blob = '\\x22ff22' WHERE thread_id = ${threadId} AND channel = 'text'`
          const refused = { _tag: "SerializationError", operation: "decode", part: "channel", channel: "text" }
          const rest = yield* sql.withTransaction(
            Effect.zipRight(
              Effect.flip(get(threadId)).pipe(Effect.tap((error) => expect(error).toMatchObject(refused))),
              sql`SELECT 1 AS one`
            )
          )
          expect(rest).toEqual([{ one: 1 }])
          // The second time it is asked for otherwise.
          for (let i = 0; i < 2; i++) expect(yield* Effect.flip(get(threadId))).toMatchObject(refused)
        })
      )
    }
  )
}

it.scoped.each(["LATIN1", "SQL_ASCII"])("a database in %s gives it, too", (encoding) =>
  Effect.gen(function* () {
    const make = Effect.flatMap(
      SqlClient.SqlClient,
      (sql) => sql`CREATE DATABASE ${sql(encoding)} TEMPLATE template0 ENCODING ${sql(encoding)} LOCALE 'C'`
    )
    yield* Effect.provide(make, yield* open(stock()))
    const context = yield* open(SqlCheckpointer.layer().pipe(Layer.provide(stock({ database: encoding }))))
    const checkpoint = yield* Effect.provide(put(encoding), context)
    expect(yield* Effect.provide(get(encoding), context)).toEqual(checkpoint)
  })
)

it.scoped("another codec is given the bytes that it has made", () =>
  Effect.gen(function* () {
    const given: Array<string> = []
    const codec: Codec.Service = {
      encode: Codec.json.encode,
      decode: (encoded, at) => {
        if (at.channel !== "") given.push(Buffer.from(encoded.data).toString())
        return Codec.json.decode(encoded, at)
      }
    }
    const checkpointer = SqlCheckpointer.layer({ schema: "codec" }).pipe(
      Layer.provide(Layer.succeed(Codec.Codec, codec)),
      Layer.provide(stock())
    )
    const context = yield* open(checkpointer)
    const checkpoint = yield* Effect.provide(put("codec"), context)
    expect(yield* Effect.provide(get("codec"), context)).toEqual(checkpoint)
    expect(given).toContain(JSON.stringify(text))
  })
)
