import { SqlState } from "@checkpool/pg"
import { Reactivity } from "@effect/experimental"
import type { SqlError } from "@effect/sql"
import { PgClient } from "@effect/sql-pg"
import { expect, layer } from "@effect/vitest"
import { Effect } from "effect"
import { ServerLive } from "../server.ts"
import { sameOnBoth } from "./stock.ts"

const createPeople = Effect.flatMap(
  PgClient.PgClient,
  (sql) => sql`CREATE TABLE people (id int PRIMARY KEY, name text NOT NULL, age int, data jsonb)`
)

const people = Effect.flatMap(
  PgClient.PgClient,
  (sql) => sql<{ id: number; name: string; age: number | null }>`SELECT id, name, age FROM people ORDER BY id`
)

layer(ServerLive, { excludeTestServices: true, timeout: "60 seconds" })("statements", (it) => {
  it.effect("insert takes one row or many, with fragments as values, and returns what was asked for", () =>
    Effect.gen(function* () {
      const result = yield* sameOnBoth(
        Effect.gen(function* () {
          const sql = yield* PgClient.PgClient
          yield* createPeople
          const one = yield* sql`INSERT INTO people ${sql.insert({ id: 1, name: "Ada", age: 36 })}`
          const many = yield* sql`INSERT INTO people ${sql
            .insert([
              { id: 2, name: "Bob", data: sql.json({ likes: ["tea"] }) },
              { id: 3, name: "Cy", data: null }
            ])
            .returning(sql`id, data`)}`
          return { one, many, rows: yield* people }
        })
      )
      expect(result).toEqual({
        one: [],
        many: [
          { id: 2, data: { likes: ["tea"] } },
          { id: 3, data: null }
        ],
        rows: [
          { id: 1, name: "Ada", age: 36 },
          { id: 2, name: "Bob", age: null },
          { id: 3, name: "Cy", age: null }
        ]
      })
    })
  )

  it.effect("update and updateValues change the rows that they name", () =>
    Effect.gen(function* () {
      const result = yield* sameOnBoth(
        Effect.gen(function* () {
          const sql = yield* PgClient.PgClient
          yield* createPeople
          yield* sql`INSERT INTO people ${sql.insert([
            { id: 1, name: "Ada", age: 1 },
            { id: 2, name: "Bob", age: 2 }
          ])}`
          const updated = yield* sql`UPDATE people SET ${sql.update({ id: 1, name: "Ida", age: 5 }, ["id"])}
            WHERE id = ${1} RETURNING name, age`
          const values = yield* sql`UPDATE people SET name = data.name FROM ${sql
            .updateValues([{ name: "Eve" }, { name: "Zed" }], "data")
            .returning("people.id")}`.pipe(Effect.map((rows) => rows.length))
          return { updated, values }
        })
      )
      expect(result).toEqual({ updated: [{ name: "Ida", age: 5 }], values: 2 })
    })
  )

  it.effect("in, and, or, csv, literal and identifiers put a query together", () =>
    Effect.gen(function* () {
      const rows = yield* sameOnBoth(
        Effect.gen(function* () {
          const sql = yield* PgClient.PgClient
          yield* createPeople
          yield* sql`INSERT INTO people ${sql.insert([1, 2, 3, 4].map((id) => ({ id, name: `p${id}`, age: 10 * id })))}`
          const found = yield* sql`SELECT ${sql("people")}.id FROM ${sql("people")} WHERE ${sql.and([
            sql.in("id", [1, 2, 3]),
            sql.or([sql`age > ${15}`, sql`name = ${"p1"}`])
          ])} ${sql.csv("ORDER BY", ["age DESC", "id"])} LIMIT ${sql.literal("2")}`.values
          return [found, yield* sql`SELECT id FROM people WHERE ${sql.in("id", [])}`]
        })
      )
      expect(rows).toEqual([[[3], [2]], []])
    })
  )

  it.effect("rows come as objects, as values, raw, unprepared, and for several statements in one text", () =>
    Effect.gen(function* () {
      const result = yield* sameOnBoth(
        Effect.gen(function* () {
          const sql = yield* PgClient.PgClient
          const statement = sql`SELECT 1 AS a, ${"x"} AS b`
          const raw = (yield* statement.raw) as { rows: unknown; rowCount: number; command: string }
          return {
            objects: yield* statement,
            values: yield* statement.values,
            unprepared: yield* statement.unprepared,
            withoutTransform: yield* statement.withoutTransform,
            raw: { rows: raw.rows, rowCount: raw.rowCount, command: raw.command },
            unsafe: yield* sql.unsafe("SELECT $1::int + 1 AS two", [1]),
            several:
              yield* sql`CREATE TABLE several (id int); INSERT INTO several VALUES (1) RETURNING id; SELECT 2 AS x`,
            none: yield* sql`SELECT 1 WHERE false`,
            nothing: yield* sql`SELECT`
          }
        })
      )
      expect(result.objects).toEqual([{ a: 1, b: "x" }])
      expect(result.values).toEqual([[1, "x"]])
      expect(result.several).toEqual([[], [{ id: 1 }], [{ x: 2 }]])
    })
  )

  it.effect("values of all kinds come back as they come from sql-pg", () =>
    Effect.gen(function* () {
      const row = yield* sameOnBoth(
        Effect.gen(function* () {
          const sql = yield* PgClient.PgClient
          const [row] = yield* sql`SELECT
            ${null}::int AS absent, ${true}::bool AS bool, ${9007199254740993n}::bigint AS big, ${1.5}::float8 AS float,
            ${"1.10"}::numeric AS exact, ${"ünïcode'\"\\"}::text AS text, ${new Date(0)}::timestamptz AS at,
            ${Buffer.from([0, 255])}::bytea AS bytes, ${[1, 2]}::int[] AS array, ${{ a: [1] }}::jsonb AS json,
            ${["a,b", 'c"d']}::text[] AS texts, now() - now() AS span, '(1,2)'::point AS point`
          return row
        })
      )
      expect(row).toMatchObject({ absent: null, big: "9007199254740993", exact: "1.10", texts: ["a,b", 'c"d'] })
    })
  )

  it.effect("onDialect and compile see Postgres", () =>
    Effect.gen(function* () {
      const result = yield* sameOnBoth(
        Effect.map(PgClient.PgClient, (sql) => [
          sql.onDialectOrElse({ orElse: () => "another", pg: () => "pg" }),
          sql.onDialect({ sqlite: () => 1, pg: () => 2, mysql: () => 3, mssql: () => 4, clickhouse: () => 5 }),
          sql`SELECT ${sql("a.b")} FROM t WHERE ${sql.in("id", [1])} AND ${sql.or([])}`.compile()
        ])
      )
      expect(result.slice(0, 2)).toEqual(["pg", 2])
    })
  )

  it.effect("an error of the server is a SqlError with the driver's error as its cause", () =>
    Effect.gen(function* () {
      const errors = yield* sameOnBoth(
        Effect.gen(function* () {
          const sql = yield* PgClient.PgClient
          yield* createPeople
          const told = (effect: Effect.Effect<unknown, SqlError.SqlError>) =>
            Effect.map(Effect.flip(effect), ({ _tag, cause, message }) => ({ _tag, message, code: SqlState.of(cause) }))
          return [
            yield* told(sql`SELECT * FROM nowhere`),
            yield* told(sql`INSERT INTO people ${sql.insert({ id: 1, name: null })}`),
            yield* told(sql`SELEKT`),
            yield* told(sql`SELECT ${1} / 0`.values),
            yield* told(sql`SELECT 1/0; SELECT 1`)
          ]
        })
      )
      expect(errors.map(({ code }) => code)).toEqual(["42P01", "23502", "42601", "22012", "22012"])
      expect(errors[0]).toMatchObject({ _tag: "SqlError", message: "Failed to execute statement" })
    })
  )

  it.effect("reactive queries run again when their keys change", () =>
    Effect.gen(function* () {
      const seen = yield* sameOnBoth(
        Effect.gen(function* () {
          const sql = yield* PgClient.PgClient
          yield* createPeople
          const mailbox = yield* sql.reactiveMailbox(["people"], people)
          const first = yield* mailbox.take
          yield* sql`INSERT INTO people ${sql.insert({ id: 1, name: "Ada" })}`.pipe(
            Effect.zipRight(Effect.flatMap(Reactivity.Reactivity, (r) => r.invalidate(["people"])))
          )
          return [first.length, (yield* mailbox.take).length]
        })
      )
      expect(seen).toEqual([0, 1])
    })
  )
})
