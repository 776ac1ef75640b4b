/**
 * All that can happen to a pool. Each transition takes the state, the time `now` (ms, monotonic) and what it is about,
 * and leaves every invariant of the state intact.
 */
export { drain, expire, resize, warmUp } from "./bounds.ts"
export { cancel, discard, enqueue, invalidate, release, take } from "./lending.ts"
export { checked, closed, opened, openFailed, reset } from "./outcomes.ts"
export { tick } from "./upkeep.ts"
