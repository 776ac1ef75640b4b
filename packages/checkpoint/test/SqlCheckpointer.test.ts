import { SqlCheckpointer } from "@checkpool/checkpoint"
import { SqlClient } from "@effect/sql"
import { Effect, Layer } from "effect"
import { memoMap, stock } from "./database.ts"
import { suite } from "./laws.ts"

suite("SqlCheckpointer on stock sql-pg", SqlCheckpointer.layer().pipe(Layer.provide(stock())), { memoMap })

// A linguistic collation, as most servers have: their order of ids is not the order by code point.
const linguistic = Layer.unwrapEffect(
  Effect.gen(function* () {
    const sql = yield* SqlClient.SqlClient
    yield* sql`CREATE DATABASE linguistic TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'en-US'`
    return stock({ database: "linguistic" })
  })
).pipe(Layer.provide(stock()))

suite(
  "SqlCheckpointer in a database with a linguistic collation, in a schema with an odd name",
  SqlCheckpointer.layer({ schema: `odd "name" of.a schema` }).pipe(Layer.provide(linguistic)),
  { memoMap }
)
