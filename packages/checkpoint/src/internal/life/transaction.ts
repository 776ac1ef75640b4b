/**
 * Short transactions that take the locks of threads first, which is what makes safe that they decide on what they find. These
 * locks are this library's own, and last for milliseconds; for those of users see `lease/`.
 *
 * @internal
 */
import type { SqlClient } from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import type { Exclusively, Objection, Task } from "../groupCommit.ts"
import { inTransaction } from "../inTransaction.ts"
import * as Lease from "../lease/lease.ts"
import type { SqlLeases } from "../lease/sql.ts"
import type { WriteError } from "../store.ts"

/** @internal */
export type Transaction = <A, E>(
  threadIds: ReadonlyArray<string>,
  effect: Effect.Effect<A, E>
) => Effect.Effect<A, E | SqlError>

/**
 * Runs in a short transaction that takes the locks of threads first, so that what it reads then is not older than the lock.
 * In a caller's transaction it takes part in that, which holds the locks until it ends.
 *
 * It is an advisory lock: plain puts don't pay for it. Two threads may have the same one by chance, and then wait for
 * each other.
 *
 * @internal
 */
export const make =
  (sql: SqlClient, schema: string): Transaction =>
  (threadIds, effect) => {
    const lock = sql.unsafe(statement, [lockClass, threadIds.map((threadId) => `${schema}\u001f${threadId}`)])
    return Effect.withFiberRuntime((fiber) => {
      const nested = inTransaction(fiber)
      return sql.withTransaction(
        // Under a stricter default the snapshot would be older than the lock.
        Effect.zipRight(
          nested ? lock : Effect.zipRight(sql.unsafe("SET TRANSACTION ISOLATION LEVEL READ COMMITTED"), lock),
          effect
        )
      )
    })
  }

/**
 * What decides about threads: in such a transaction, alone for the first of them in this process, and only while the leases
 * that the caller has on them are in force.
 *
 * @internal
 */
export const alone =
  (locked: Transaction, exclusively: Exclusively, leases: SqlLeases) =>
  <A, E extends SqlError | Objection>(
    name: Task["name"],
    threadIds: readonly [string, ...ReadonlyArray<string>],
    repeatable: boolean,
    effect: Effect.Effect<A, E>
  ): Effect.Effect<A, WriteError | Exclude<E, SqlError>> =>
    Lease.fenced(leases, threadIds, (fences) =>
      exclusively(
        { name, threadId: threadIds[0], repeatable },
        locked(threadIds, fences.length === 0 ? effect : Effect.zipRight(leases.check(fences), effect))
      )
    )

// In one order, so that those who take several don't wait for each other in a circle.
const statement = `SELECT pg_advisory_xact_lock($1::int, keys.key)
FROM (SELECT DISTINCT hashtext(name) AS key FROM unnest($2::text[]) AS name ORDER BY 1) AS keys`

// "chkt", beside the class of the set-up (see `migrations.ts`).
const lockClass = 0x63_68_6b_74
