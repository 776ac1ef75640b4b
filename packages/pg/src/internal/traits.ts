/**
 * What a statement's text says about its session.
 *
 * A session that only ran plain statements needs no reset. A false alarm costs a round trip, a miss a dirty session, so
 * in doubt it is dirty: `DO` and `CALL` may hide anything. Functions of your own that do are not seen. An open
 * transaction is not looked for here: the server says so itself after each statement.
 */

/** @internal */
export interface Traits {
  /** May leave something behind: a setting, a lock, a temporary table, a subscription, … */
  readonly dirties: boolean
  /** One plain query or change of data, which is worth a prepared statement. */
  readonly preparable: boolean
  /** Asks for a transaction or a session that only reads. */
  readonly readOnly: boolean
}

/** Comments, and the literals that may only look as if there was one in them. */
const opaque = /'[^']*'|"[^"]*"|\$(\w*)\$[\s\S]*?\$\1\$|\/\*[\s\S]*?\*\/|--[^\n]*/g

const isComment = (match: string) => match.startsWith("--") || match.startsWith("/*")

const atStart =
  /(?:^|;)\s*(?:set\s+(?!local\b|transaction\b|constraints\b)|reset\b|discard\b|deallocate\b|listen\b|prepare\b|declare\b|load\b|do\b|call\b)/i

const anywhere =
  /\bset_config"?\s*\(|\bpg_(?:try_)?advisory_lock(?:_shared)?"?\s*\(|\b(?:into|create(?:\s+or\s+replace)?)\s+(?:(?:local|global)\s+)?temp(?:orary)?\b|\bpg_temp|\bupdate\s+(?:only\s+)?(?:"?pg_catalog"?\s*\.\s*)?"?pg_settings\b/i

const dirties = (text: string) => atStart.test(text) || anywhere.test(text)

const readOnly =
  /^(?!\s*(?:select|insert|update|delete|merge|with|values)\b)[\s\S]*\bread\s+only\b|\b(?:default_)?transaction_read_only\b/i

const plain = /^\s*(?:select|insert|update|delete|merge|with|values)\b[^;]*;?\s*$/i

const limit = 1000
const known = new Map<string, Traits>()

/** @internal */
export const traitsOf = (text: string): Traits => {
  const before = known.get(text)
  if (before !== undefined) return before
  const bare = text.replace(opaque, (match) => (isComment(match) ? " " : match))
  // As it stands too: backslashes may end a literal elsewhere.
  const traits = {
    dirties: dirties(bare) || dirties(text),
    preparable: plain.test(bare),
    readOnly: readOnly.test(bare)
  }
  // Texts with values spliced in would fill it without end.
  if (known.size >= limit) known.clear()
  known.set(text, traits)
  return traits
}
