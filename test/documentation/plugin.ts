/**
 * Makes each snippet of the documentation a module that can be imported, with the imports of the file that it stands in.
 */
import * as Snippets from "./snippets.ts"

const query = "?snippet="

/** The module of a snippet. */
export const moduleOf = ({ at, host }: Snippets.Snippet): string => `${host}${query}${at}.ts`

/** What a snippet begins at its top level is waited for. */
const awaited = (code: string): string => code.replace(/^Effect\.runPromise\(/gm, "await Effect.runPromise(")

export const snippets = {
  name: "snippets",
  enforce: "pre" as const,
  resolveId: (id: string) => (id.includes(query) ? id : undefined),
  load: (id: string) => {
    const snippet = Snippets.all.find((snippet) => moduleOf(snippet) === id)
    return snippet === undefined ? undefined : awaited(snippet.code)
  }
}
