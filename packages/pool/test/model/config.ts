/**
 * Pools small enough for every limit to be met often.
 */
import type { Config } from "../../src/internal/state/config.ts"
import type { Random } from "./random.ts"

const never = Number.POSITIVE_INFINITY

export const config = (given: Partial<Config> = {}): Config => ({
  name: "model",
  min: 0,
  max: 2,
  warm: false,
  maxWaiting: 100,
  maxConnecting: 3,
  acquireTimeout: 10_000,
  connectTimeout: 5_000,
  checkAfter: never,
  checkTimeout: 1_000,
  resetTimeout: 5_000,
  closeTimeout: 5_000,
  idleTimeout: 300_000,
  lifetime: 3_600_000,
  lifetimeJitter: 0.1,
  maxUses: never,
  leakAfter: never,
  unavailableAfter: 3_000,
  retryBase: 250,
  retryCap: 5_000,
  random: () => 0.5,
  connectTimedOut: (took) => ({ _tag: "ConnectTimeout", took }),
  ...given
})

export const arbitrary = (random: Random): Config => {
  const max = random.between(1, 5)
  return config({
    min: random.pick([0, random.between(0, max)]),
    max,
    warm: random.next() < 0.7,
    maxWaiting: random.pick([0, 2, 12]),
    maxConnecting: random.between(1, 3),
    acquireTimeout: random.pick([60, 400, 2_000]),
    connectTimeout: random.pick([50, 300]),
    checkAfter: random.pick([never, 20, 200]),
    checkTimeout: random.pick([30, 200]),
    resetTimeout: random.pick([30, 200]),
    closeTimeout: random.pick([30, 200]),
    idleTimeout: random.pick([never, 50, 600]),
    lifetime: random.pick([never, 500, 3_000]),
    lifetimeJitter: random.pick([0, 0.1, 0.9]),
    maxUses: random.pick([never, 1, 4]),
    leakAfter: random.pick([never, 100]),
    unavailableAfter: random.pick([0, 100, 500]),
    retryBase: random.pick([10, 100]),
    retryCap: 400,
    random: random.next
  })
}
