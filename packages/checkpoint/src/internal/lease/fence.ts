/**
 * The condition in a statement that a lease is in force. It locks the lease's row until the statement's transaction ends, so
 * that nobody takes the lease over before that: who takes it locks the row for an update of its key, `claim`. A renewal
 * changes no key, so renewals and writes don't wait for each other.
 *
 * @internal
 */
import * as Marks from "../marks.ts"

/** @internal */
export const table = "checkpool_thread_locks"

/** Fails if the claim is not in force, and is NULL otherwise. @internal */
export const unlessLost = (locks: string, claim: string): string =>
  `(SELECT (CASE count(*) WHEN 0 THEN '${mark}' END)::int::text FROM (SELECT FROM ${locks} WHERE claim = ${claim} FOR KEY SHARE) AS held)`

const mark = "checkpool: this lease is lost"

/** Whether that is what a statement failed on. @internal */
export const isLost = (error: unknown): boolean => Marks.failedOn(error, mark)
