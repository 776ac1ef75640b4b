import { PgPool } from "@checkpool/pg"
import { SqlClient } from "@effect/sql"
import { PgClient } from "@effect/sql-pg"
import { expect, layer } from "@effect/vitest"
import { Cause, Chunk, Effect, Exit, Stream, String } from "effect"
import { poolLayer, ServerLive } from "../server.ts"
import { sameOnBoth } from "./stock.ts"

const camelCase = { transformQueryNames: String.camelToSnake, transformResultNames: String.snakeToCamel }

const createPeople = Effect.flatMap(
  SqlClient.SqlClient,
  (sql) => sql`CREATE TABLE some_people (person_id int, first_name text, extra_data jsonb)`
)

layer(ServerLive, { excludeTestServices: true, timeout: "60 seconds" })("name transforms", (it) => {
  it.effect("change names on the way in and out, within JSON too", () =>
    Effect.gen(function* () {
      const result = yield* sameOnBoth(
        Effect.gen(function* () {
          const sql = yield* PgClient.PgClient
          yield* createPeople
          const inserted = yield* sql`INSERT INTO ${sql("somePeople")} ${sql
            .insert({ personId: 1, firstName: "Ada", extraData: sql.json({ favouriteTea: "green" }) })
            .returning("*")}`
          return {
            inserted,
            stored: yield* sql`SELECT extra_data::text AS t FROM some_people`.values,
            streamed: Chunk.toReadonlyArray(yield* Stream.runCollect(sql`SELECT first_name FROM some_people`.stream)),
            values: yield* sql`SELECT first_name FROM some_people`.values,
            inTransaction: yield* sql.withTransaction(sql`SELECT first_name FROM some_people`),
            unprepared: yield* sql`SELECT first_name FROM some_people`.unprepared
          }
        }),
        camelCase
      )
      expect(result).toMatchObject({
        inserted: [{ personId: 1, firstName: "Ada", extraData: { favouriteTea: "green" } }],
        stored: [['{"favourite_tea": "green"}']],
        streamed: [{ firstName: "Ada" }],
        inTransaction: [{ firstName: "Ada" }]
      })
    })
  )

  it.effect("leave JSON alone with transformJson: false", () =>
    Effect.gen(function* () {
      const rows = yield* sameOnBoth(
        Effect.gen(function* () {
          const sql = yield* PgClient.PgClient
          yield* createPeople
          yield* sql`INSERT INTO ${sql("somePeople")} ${sql.insert({ extraData: sql.json({ aB: 1, c_d: 2 }) })}`
          return yield* sql`SELECT extra_data FROM some_people`
        }),
        { ...camelCase, transformJson: false }
      )
      expect(rows).toEqual([{ extraData: { aB: 1, c_d: 2 } }])
    })
  )

  it.effect(
    "are off for a statement withoutTransform and for a client withoutTransforms, in its transactions too",
    () =>
      Effect.gen(function* () {
        const result = yield* sameOnBoth(
          Effect.gen(function* () {
            const sql = yield* PgClient.PgClient
            const plain = sql.withoutTransforms()
            yield* createPeople
            yield* plain.withTransaction(
              plain`INSERT INTO some_people ${plain.insert({ person_id: 1, first_name: "Ada" })}`
            )
            yield* Effect.ignore(
              plain.withTransaction(Effect.zipRight(plain`DELETE FROM some_people`, Effect.fail("rolled back")))
            )
            return [
              yield* sql`SELECT first_name FROM some_people`.withoutTransform,
              yield* plain`SELECT first_name FROM some_people`,
              yield* sql`SELECT first_name FROM some_people`,
              plain.withoutTransforms() === plain
            ]
          }),
          camelCase
        )
        expect(result).toEqual([[{ first_name: "Ada" }], [{ first_name: "Ada" }], [{ firstName: "Ada" }], true])
      })
  )

  it.effect("a COMMIT that fails in a client withoutTransforms is a typed error as well", () =>
    Effect.gen(function* () {
      const sql = (yield* PgClient.PgClient).withoutTransforms()
      yield* sql`CREATE TABLE late (id int UNIQUE DEFERRABLE INITIALLY DEFERRED)`
      const error = yield* Effect.flip(sql.withTransaction(sql`INSERT INTO late VALUES (1), (1)`))
      expect(error._tag).toBe("SqlError")
    }).pipe(Effect.provide(poolLayer(camelCase)))
  )

  it.effect("a transform that throws is a defect of its statement, and its connection goes on", () =>
    Effect.gen(function* () {
      const sql = yield* PgClient.PgClient
      const exit = yield* Effect.exit(sql`SELECT 1 AS bad`)
      expect(Exit.isFailure(exit) && Cause.isDie(exit.cause)).toBe(true)
      expect(yield* sql`SELECT 1 AS good`).toEqual([{ good: 1 }])
      expect(yield* Effect.flatMap(PgPool.PgPool, ({ stats }) => stats)).toMatchObject({ opened: 1, leased: 0 })
    }).pipe(
      Effect.provide(
        poolLayer({
          maxConnections: 1,
          transformResultNames: (name) => {
            if (name === "bad") throw new Error("a bug in a transform")
            return name
          }
        })
      )
    )
  )
})
