/**
 * Which statements may leave something behind in their session, judged by their text.
 *
 * A session that only ran others needs no reset. A false alarm costs a round trip, a miss a dirty session, so in doubt
 * it is dirty: `DO` and `CALL` may hide anything. Functions of your own that do are not seen. An open transaction is not
 * looked for here: the server says so itself after each statement.
 */

const comments = /\/\*[\s\S]*?\*\/|--[^\n]*/g

const atStart =
  /(?:^|;)\s*(?:set\s+(?!local\b|transaction\b|constraints\b)|reset\b|listen\b|prepare\b|declare\b|load\b|do\b|call\b|create\s+(?:or\s+replace\s+)?(?:(?:local|global)\s+)?temp)/i

const anywhere = /\bset_config\s*\(|\bpg_(?:try_)?advisory_lock(?:_shared)?\s*\(|\binto\s+(?:(?:local|global)\s+)?temp/i

const limit = 1000
const known = new Map<string, boolean>()

/** @internal */
export const mayDirty = (text: string): boolean => {
  const before = known.get(text)
  if (before !== undefined) return before
  const bare = text.replace(comments, " ")
  const dirty = atStart.test(bare) || anywhere.test(bare)
  // Texts with values spliced in would fill it without end.
  if (known.size >= limit) known.clear()
  known.set(text, dirty)
  return dirty
}
