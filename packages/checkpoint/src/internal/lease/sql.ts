/**
 * Leases in a table of our own: see `fence.ts` for what keeps the writes of a lost one out.
 *
 * @internal
 */
import type { SqlClient } from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import { CheckpointerError, type LeaseLost } from "../../CheckpointError.ts"
import { failingAs, type Writer } from "../groupCommit.ts"
import { inTransaction } from "../inTransaction.ts"
import * as Batch from "../lanes/batch.ts"
import * as Trouble from "../lanes/trouble.ts"
import * as PgArray from "../pgArray.ts"
import { quote, type Statements } from "../statements.ts"
import type { Store, WriteError } from "../store.ts"
import * as Fence from "./fence.ts"
import * as Lease from "./lease.ts"

/** @internal */
export interface SqlLeases extends Lease.LeaseStore<CheckpointerError> {
  /** Fails unless all of them are in force, which they are then until the transaction ends. */
  readonly check: (fences: ReadonlyArray<Lease.Held>) => Effect.Effect<void, SqlError | LeaseLost>
}

/** @internal */
export const make = (sql: SqlClient, schema: string): SqlLeases => {
  const locks = `${quote(schema)}.${Fence.table}`
  const expiry = (lasts: string) => `clock_timestamp() + ${lasts}::float8 * interval '1 millisecond'`

  // Of the thread $1, for the claim $2 of $3, for $4 milliseconds. A row that what was written under it holds is passed over, so
  // nobody waits in the server. The token is drawn when the row is ours; a new row's is greater than all of the thread, because
  // a row only goes when it has not been used for days.
  const take = `WITH free AS MATERIALIZED (
  SELECT thread_id FROM ${locks}
  WHERE thread_id = $1::text AND (claim IS NULL OR claim = $2::text OR expires_at <= clock_timestamp())
  FOR UPDATE SKIP LOCKED
), again AS (
  UPDATE ${locks} AS l SET token = DEFAULT, claim = $2::text, holder = $3::text, expires_at = ${expiry("$4")}
  FROM free WHERE l.thread_id = free.thread_id RETURNING l.token
), first AS (
  INSERT INTO ${locks} (thread_id, claim, holder, expires_at)
  SELECT $1::text, $2::text, $3::text, ${expiry("$4")} WHERE NOT EXISTS (SELECT FROM ${locks} WHERE thread_id = $1::text)
  ON CONFLICT (thread_id) DO NOTHING RETURNING token
)
SELECT (SELECT token FROM again UNION ALL SELECT token FROM first)::text, l.holder,
  greatest(extract(epoch FROM l.expires_at - clock_timestamp()) * 1000, 0)::text
FROM (SELECT) AS one LEFT JOIN ${locks} AS l ON l.thread_id = $1::text AND l.claim IS NOT NULL`

  const renew = `UPDATE ${locks} SET expires_at = ${expiry("$2")} WHERE claim = $1::text RETURNING thread_id`

  const release = `WITH forgotten AS (
  DELETE FROM ${locks} WHERE thread_id IN (
    SELECT thread_id FROM ${locks} WHERE expires_at < now() - interval '7 days' AND thread_id <> $2::text
    ORDER BY expires_at LIMIT 100 FOR UPDATE SKIP LOCKED
  )
)
UPDATE ${locks} SET claim = NULL, expires_at = clock_timestamp() WHERE claim = $1::text`

  const check = `SELECT claim FROM ${locks} WHERE claim = ANY ($1::text[]) ORDER BY claim FOR KEY SHARE`

  const values = (statement: string, parameters: ReadonlyArray<unknown>) =>
    sql.unsafe(statement, parameters).values as Effect.Effect<ReadonlyArray<ReadonlyArray<string | null>>, SqlError>

  return {
    take: ({ holder, id, lasts, threadId }) =>
      outsideOfTransactions(
        values(take, [threadId, id, holder, lasts]).pipe(
          Effect.map(
            ([[token = null, holder = null, expiresIn = null] = []]): Lease.Answer =>
              token === null
                ? { _tag: "Held", holder, expiresIn: Number(expiresIn) }
                : { _tag: "Taken", token: Number(token) }
          ),
          // Under a stricter default level of isolation that is how it shows that somebody else is about to take it.
          Effect.catchIf(
            (error) => Trouble.kindOf(error) === "conflict",
            () => Effect.succeed<Lease.Answer>({ _tag: "Held", holder: null, expiresIn: 0 })
          ),
          (answer) => failingAs("withThreadLock", answer)
        )
      ),
    renew: ({ id, lasts }) =>
      failingAs(
        "withThreadLock",
        Effect.map(values(renew, [id, lasts]), (rows) => rows.length > 0)
      ),
    release: ({ id, threadId }) => failingAs("withThreadLock", Effect.asVoid(values(release, [id, threadId]))),
    check: (fences) =>
      Effect.flatMap(values(check, [PgArray.text(fences, ({ claim }) => claim.id)]), (rows) => {
        const missing = fences.find(({ claim }) => !rows.some(([id]) => id === claim.id))
        return missing === undefined ? Effect.void : Lease.lost(missing, "TakenOver")
      })
  }
}

/** What writes, and under a lease only if that is in force. @internal */
export const fencing = (
  writer: Writer,
  statements: Statements,
  leases: SqlLeases
): Pick<Store<CheckpointerError, WriteError>, "put" | "putWrites" | "commit"> => {
  const write = (item: Batch.Item) => {
    const threadId = Batch.threadOf(item)
    return Lease.fenced(leases, [threadId], ([fence]) =>
      fence === undefined
        ? writer.write(item)
        : // Alone, so that nobody else's write fails with it.
          writer.exclusively(
            { name: Batch.nameOf(item), threadId, repeatable: true },
            Effect.catchAll(
              Effect.suspend(() => Effect.asVoid(statements.batch(Batch.merge([item]), fence.claim.id))),
              (error): Effect.Effect<never, SqlError | LeaseLost> =>
                Fence.isLost(error) ? Lease.lost(fence, "TakenOver") : Effect.fail(error)
            )
          )
    )
  }
  return {
    put: (rows) => write(Batch.put(rows)),
    putWrites: (rows) => write(Batch.writes(rows)),
    commit: (rows) => write(Batch.commit(rows))
  }
}

const outsideOfTransactions = <A>(effect: Effect.Effect<A, CheckpointerError>): Effect.Effect<A, CheckpointerError> =>
  Effect.withFiberRuntime((fiber) =>
    inTransaction(fiber)
      ? new CheckpointerError({ operation: "withThreadLock", cause: new Error(tooLateForLock) })
      : effect
  )

const tooLateForLock =
  "A transaction is open, which would see the thread as it was before the lock, and end after it. " +
  "Take the lock first, and begin the transaction within it"
