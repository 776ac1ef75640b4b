/** @internal */
import * as Effect from "effect/Effect"
import type { LeaseLost } from "../../CheckpointError.ts"
import * as Lease from "./lease.ts"

interface Row {
  readonly claim: Lease.Claim
  readonly expiresAt: bigint
}

/** The leases of a store in memory, and what writes only while they are in force. @internal */
export interface MemoryLeases extends Lease.LeaseStore<never> {
  readonly fenced: <A, E>(
    threadIds: ReadonlyArray<string>,
    write: Effect.Effect<A, E>
  ) => Effect.Effect<A, E | LeaseLost>
}

/** @internal */
export const make = (): MemoryLeases => {
  const rows = new Map<string, Row>()
  let tokens = 0
  const inForce = ({ id, threadId }: Lease.Claim): boolean => rows.get(threadId)?.claim.id === id
  const keep = (claim: Lease.Claim, now: bigint) =>
    rows.set(claim.threadId, { claim, expiresAt: now + BigInt(Math.round(claim.lasts * 1e6)) })
  const leases: Lease.LeaseStore<never> = {
    take: (claim) =>
      Effect.clockWith((clock) =>
        Effect.sync((): Lease.Answer => {
          const now = clock.unsafeCurrentTimeNanos()
          const row = rows.get(claim.threadId)
          if (row !== undefined && row.claim.id !== claim.id && row.expiresAt > now) {
            return { _tag: "Held", holder: row.claim.holder, expiresIn: Number(row.expiresAt - now) / 1e6 }
          }
          keep(claim, now)
          return { _tag: "Taken", token: ++tokens }
        })
      ),
    renew: (claim) =>
      Effect.clockWith((clock) =>
        Effect.sync(() => {
          if (!inForce(claim)) return false
          keep(claim, clock.unsafeCurrentTimeNanos())
          return true
        })
      ),
    release: (claim) =>
      Effect.sync(() => {
        if (inForce(claim)) rows.delete(claim.threadId)
      })
  }
  const self: MemoryLeases = {
    ...leases,
    fenced: <A, E>(threadIds: ReadonlyArray<string>, write: Effect.Effect<A, E>) =>
      Lease.fenced(self, threadIds, (fences) =>
        Effect.suspend((): Effect.Effect<A, E | LeaseLost> => {
          const over = fences.find(({ claim }) => !inForce(claim))
          return over === undefined ? write : Lease.lost(over, "TakenOver")
        })
      )
  }
  return self
}
