/**
 * The log file of one server: what it said since a point, and what that means.
 */
import * as NodeFs from "node:fs"
import type { Reason } from "../EmbeddedPostgresError.ts"

const quotedLines = 12
const maxBytes = 16_384

/** An open log file. */
export interface Log {
  readonly fd: number
  readonly path: string
}

/** Where the log ends now; later lines belong to what is started next. */
export const mark = (log: Log): number => NodeFs.fstatSync(log.fd).size

/**
 * The lines since a mark, the last ones only if there are many. `initdb` shows the statement that sets the password
 * when that fails; it has no place in an error.
 */
export const linesSince = (log: Log, from: number): ReadonlyArray<string> => {
  const text = NodeFs.readFileSync(log.path)
  return text
    .subarray(Math.max(from, text.length - maxBytes))
    .toString("utf8")
    .split("\n")
    .filter((line) => line.trim() !== "")
    .slice(-quotedLines)
    .map((line) => line.replace(/\bPASSWORD\s+E?'.*/i, "PASSWORD ***"))
}

const meanings: ReadonlyArray<readonly [RegExp, Reason]> = [
  [/could not bind .*Address already in use/, "PortTaken"],
  [/lock file ".*" already exists|pre-existing shared memory block/, "DataDirInUse"],
  [/database files are incompatible with server/, "IncompatibleData"],
  [/data directory ".*" has (wrong ownership|invalid permissions)|could not access directory/, "DataDirNotWritable"]
]

/** The reason that the lines state, if it is one that we know. Messages are in English: we start with `LC_ALL=C`. */
export const reasonIn = (lines: ReadonlyArray<string>): Reason | undefined =>
  meanings.find(([pattern]) => lines.some((line) => pattern.test(line)))?.[1]
