/**
 * Which names a server answers to. A page of an attacker's can make a browser send requests to a local server under a name
 * of the attacker's that resolves to it (DNS rebinding), and read the answers; such a request carries that name.
 */

/** Addresses and local names can't be rebound; other names have to be known. @internal */
export const isAllowed = (header: string | undefined, known: ReadonlyArray<string>): boolean => {
  const name = hostname(header)
  if (name === undefined) return false
  return isAddress(name) || name === "localhost" || name.endsWith(".localhost") || known.includes(name)
}

const hostname = (header: string | undefined): string | undefined =>
  /^(\[[\da-f:.]+\]|[^\s:/?#@[\]]+)(?::\d{1,5})?$/i
    .exec(header ?? "")?.[1]
    ?.toLowerCase()
    .replace(/\.$/, "")

const isAddress = (name: string): boolean => name.startsWith("[") || /^\d{1,3}(\.\d{1,3}){3}$/.test(name)
