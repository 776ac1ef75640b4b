import { SqlCheckpointer } from "@checkpool/checkpoint"
import { String as Case, Layer } from "effect"
import { agreement } from "./agreement.ts"
import { linguistic, memoMap, pool, stock } from "./database.ts"
import { suite } from "./laws.ts"

suite("SqlCheckpointer on stock sql-pg", SqlCheckpointer.layer().pipe(Layer.provide(stock())), { memoMap })

suite("SqlCheckpointer on our pool", SqlCheckpointer.layer({ schema: "pool" }).pipe(Layer.provide(pool)), { memoMap })

suite(
  "SqlCheckpointer in a database with a linguistic collation, in a schema with an odd name",
  SqlCheckpointer.layer({ schema: `odd "name" of.a schema` }).pipe(Layer.provide(linguistic("linguistic"))),
  { memoMap }
)

// Everything that an application may have set for its own rows.
const foreign = stock({
  transformQueryNames: Case.camelToSnake,
  transformResultNames: Case.snakeToCamel,
  transformJson: true,
  types: { getTypeParser: (oid: number) => (value: string) => (oid === 25 ? value : { oid, value }) }
})

suite(
  "SqlCheckpointer on a client that renames columns and parses types its own way",
  SqlCheckpointer.layer({ schema: "foreign" }).pipe(Layer.provide(foreign)),
  { memoMap }
)

agreement("SqlCheckpointer on stock sql-pg and memory", SqlCheckpointer.layer().pipe(Layer.provide(stock())), {
  memoMap,
  numRuns: 30
})
agreement("SqlCheckpointer on our pool and memory", SqlCheckpointer.layer().pipe(Layer.provide(pool)), { memoMap })

suite(
  "SqlCheckpointer without group commit",
  SqlCheckpointer.layer({ schema: "single", groupCommit: false }).pipe(Layer.provide(stock())),
  { memoMap }
)

// One at a time, so that as much as possible goes together.
const oneLane = { groupCommit: { maxInFlight: 1 } }
agreement("SqlCheckpointer in bursts on stock sql-pg", SqlCheckpointer.layer(oneLane).pipe(Layer.provide(stock())), {
  memoMap,
  numRuns: 30,
  bursts: true
})
agreement("SqlCheckpointer in bursts on our pool", SqlCheckpointer.layer(oneLane).pipe(Layer.provide(pool)), {
  memoMap,
  bursts: true
})
