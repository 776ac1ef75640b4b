import { Model, SqlClient, SqlResolver, SqlSchema } from "@effect/sql"
import { expect, layer } from "@effect/vitest"
import { DateTime, Effect, Option, Schema, String } from "effect"
import { ServerLive } from "../server.ts"
import { sameOnBoth } from "./stock.ts"

class Task extends Model.Class<Task>("Task")({
  id: Model.Generated(Schema.Number),
  title: Schema.NonEmptyTrimmedString,
  details: Model.FieldOption(Schema.String),
  settings: Model.JsonFromString(Schema.Struct({ urgent: Schema.Boolean })),
  createdAt: Model.DateTimeInsertFromDate,
  updatedAt: Model.DateTimeUpdateFromDate
}) {}

const camelCase = { transformQueryNames: String.camelToSnake, transformResultNames: String.snakeToCamel }

const createTasks = Effect.flatMap(
  SqlClient.SqlClient,
  (sql) => sql`CREATE TABLE tasks (id serial PRIMARY KEY, title text NOT NULL, details text, settings text NOT NULL,
    created_at timestamptz NOT NULL, updated_at timestamptz NOT NULL)`
)

const task = (title: string, details: Option.Option<string>) =>
  Task.insert.make({ title, details, settings: { urgent: true } })

layer(ServerLive, { excludeTestServices: true, timeout: "60 seconds" })("models", (it) => {
  it.effect("a repository inserts, updates, finds and deletes", () =>
    Effect.gen(function* () {
      const result = yield* sameOnBoth(
        Effect.gen(function* () {
          yield* createTasks
          const tasks = yield* Model.makeRepository(Task, { tableName: "tasks", spanPrefix: "Tasks", idColumn: "id" })
          const one = yield* tasks.insert(task("write", Option.none()))
          yield* tasks.insertVoid(task("read", Option.some("slowly")))
          const updated = yield* tasks.update(
            Task.update.make({ id: one.id, title: "rewrite", details: one.details, settings: one.settings })
          )
          yield* tasks.delete(2)
          return {
            id: one.id,
            title: updated.title,
            settings: updated.settings,
            isDate: DateTime.isDateTime(updated.updatedAt),
            found: Option.map(yield* tasks.findById(1), (task) => task.title),
            gone: yield* tasks.findById(2)
          }
        }),
        camelCase
      )
      expect(result).toMatchObject({ id: 1, title: "rewrite", settings: { urgent: true }, isDate: true })
      expect(result.found).toEqual(Option.some("rewrite"))
      expect(result.gone).toEqual(Option.none())
    })
  )

  it.effect("data loaders put what is asked for at once into one statement", () =>
    Effect.gen(function* () {
      const result = yield* sameOnBoth(
        Effect.gen(function* () {
          yield* createTasks
          const loaders = yield* Model.makeDataLoaders(Task, {
            tableName: "tasks",
            spanPrefix: "Tasks",
            idColumn: "id",
            window: "10 millis"
          })
          const all = { concurrency: "unbounded" } as const
          const titles = ["a", "b", "c"]
          const inserted = yield* Effect.forEach(titles, (title) => loaders.insert(task(title, Option.none())), all)
          const found = yield* Effect.forEach([3, 1, 9], (id) => loaders.findById(id), all)
          yield* Effect.forEach([1, 2], (id) => loaders.delete(id), all)
          const sql = yield* SqlClient.SqlClient
          return {
            inserted: inserted.map(({ id, title }) => ({ id, title })),
            found: found.map(Option.map(({ title }) => title)),
            left: yield* sql`SELECT title FROM tasks`.values
          }
        }),
        camelCase
      )
      expect(result.inserted.map(({ title }) => title)).toEqual(["a", "b", "c"])
      expect(result.left).toEqual([["c"]])
    })
  )
})

layer(ServerLive, { excludeTestServices: true, timeout: "60 seconds" })("schemas and resolvers", (it) => {
  const Person = Schema.Struct({ id: Schema.Number, name: Schema.String })

  const createPeople = Effect.flatMap(
    SqlClient.SqlClient,
    (sql) => sql`CREATE TABLE people AS SELECT n AS id, 'person ' || n AS name FROM generate_series(1, 4) AS n`
  )

  it.effect("SqlSchema decodes all rows, one, or none", () =>
    Effect.gen(function* () {
      const result = yield* sameOnBoth(
        Effect.gen(function* () {
          const sql = yield* SqlClient.SqlClient
          yield* createPeople
          const query = {
            Request: Schema.NumberFromString,
            Result: Person,
            execute: (id: number) => sql`SELECT id, name FROM people WHERE id < ${id} ORDER BY id`
          }
          return {
            all: yield* SqlSchema.findAll({ ...query, Request: Schema.Number })(3),
            one: yield* SqlSchema.findOne({ ...query, Request: Schema.Number })(3),
            single: yield* Effect.either(SqlSchema.single({ ...query, Request: Schema.Number })(0)),
            nothing: yield* SqlSchema.void({
              Request: Schema.Number,
              execute: (id) => sql`DELETE FROM people WHERE id = ${id}`
            })(4)
          }
        })
      )
      expect(result.all).toEqual([
        { id: 1, name: "person 1" },
        { id: 2, name: "person 2" }
      ])
      expect(result.single._tag).toBe("Left")
    })
  )

  it.effect("SqlResolver asks for a batch in one statement", () =>
    Effect.gen(function* () {
      const result = yield* sameOnBoth(
        Effect.gen(function* () {
          const sql = yield* SqlClient.SqlClient
          yield* createPeople
          let statements = 0
          const counted = <A>(statement: A) => {
            statements++
            return statement
          }
          const byId = yield* SqlResolver.findById("PersonById", {
            Id: Schema.Number,
            Result: Person,
            ResultId: ({ id }) => id,
            execute: (ids) => counted(sql`SELECT id, name FROM people WHERE ${sql.in("id", ids)}`)
          })
          const ordered = yield* SqlResolver.ordered("Insert", {
            Request: Person,
            Result: Person,
            execute: (rows) => counted(sql`INSERT INTO people ${sql.insert(rows).returning("*")}`)
          })
          const grouped = yield* SqlResolver.grouped("PeopleByParity", {
            Request: Schema.Number,
            RequestGroupKey: (parity) => parity,
            Result: Schema.Struct({ ...Person.fields, parity: Schema.Number }),
            ResultGroupKey: ({ parity }) => parity,
            execute: (parities) =>
              counted(
                sql`SELECT *, id % 2 AS parity FROM people WHERE ${sql.in("id % 2", [])} OR id % 2 IN ${sql.in(
                  parities
                )} ORDER BY id`
              )
          })
          const batched = { batching: true, concurrency: "unbounded" } as const
          return {
            byId: yield* Effect.forEach([4, 2, 7], (id) => byId.execute(id), batched),
            inserted: yield* Effect.forEach(
              [5, 6].map((id) => ({ id, name: `new ${id}` })),
              (person) => ordered.execute(person),
              batched
            ),
            grouped: yield* Effect.forEach([0, 1], (parity) => grouped.execute(parity), batched),
            statements
          }
        })
      )
      expect(result.byId.map(Option.isSome)).toEqual([true, true, false])
      expect(result.inserted).toEqual([
        { id: 5, name: "new 5" },
        { id: 6, name: "new 6" }
      ])
      expect(result.grouped.map((group) => group.length)).toEqual([3, 3])
      expect(result.statements).toBe(3)
    })
  )
})
