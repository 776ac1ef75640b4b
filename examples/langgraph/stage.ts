/**
 * Where the examples play: a database, a schema of their own in it, and a saver. The rest of this folder needs no more
 * than LangGraph and that saver.
 */
import { EmbeddedPostgres } from "@checkpool/embedded"
import { CheckpoolSaver } from "@checkpool/langgraph"
import { Effect, Exit, Layer, Redacted, Scope } from "effect"
import Pg from "pg"

export interface Stage {
  readonly checkpointer: CheckpoolSaver
  readonly url: string
  readonly schema: string
  readonly say: (line: string) => void
}

export type Example = (stage: Stage) => Promise<void>

/** Plays on this database, or on a server from npm that lives as long as the play. Leaves nothing behind. */
export const play = async (example: Example, given: string | undefined): Promise<void> => {
  const scope = Effect.runSync(Scope.make())
  try {
    const url = given ?? (await Effect.runPromise(embedded.pipe(Scope.extend(scope))))
    const schema = `checkpool_example_${Math.floor(Math.random() * 2 ** 32).toString(16)}`
    await using checkpointer = CheckpoolSaver.fromConnString(url, { schema })
    await checkpointer.setup()
    try {
      await example({ checkpointer, url, schema, say: (line) => process.stdout.write(`${line}\n`) })
    } finally {
      await drop(url, schema)
    }
  } finally {
    await Effect.runPromise(Scope.close(scope, Exit.void))
  }
}

const embedded = Effect.gen(function* () {
  const services = yield* Layer.build(EmbeddedPostgres.layer())
  const { url } = yield* Effect.provide(EmbeddedPostgres.EmbeddedPostgres, services)
  return Redacted.value(url)
})

const drop = async (url: string, schema: string): Promise<void> => {
  const client = new Pg.Client({ connectionString: url })
  await client.connect()
  await client.query(`DROP SCHEMA IF EXISTS ${schema} CASCADE`)
  await client.end()
}
