/**
 * What can be chosen on the command line.
 */
import { parseArgs } from "node:util"

/** How long it is measured. */
export interface Effort {
  readonly rounds: number
  /** Rounds before those that count. */
  readonly warmUp: number
  /** Of each variant in a round. */
  readonly milliseconds: number
}

export const full: Effort = { rounds: 9, warmUp: 1, milliseconds: 600 }
export const quick: Effort = { rounds: 3, warmUp: 1, milliseconds: 150 }

export const help = `What the checkpointer costs beside LangGraph's own saver, and beside pgbench where that is installed.

  node packages/checkpoint/benchmark/dist/main.js [options]

  --puts, --reads   only these
  --quick           a first impression in a minute; the whole takes about ten
  --url URL         on a server of yours, in a database that is made and dropped; any superuser will do, and
                    100 connections
  --out FOLDER      writes the tables (results.md) and a picture of them (results.svg) into this folder
  --help            prints this

Without a URL the server is one of its own with the settings of a stock server: it waits for the disk, and is reached over
TCP with a password (SCRAM). Absolute figures depend on the machine and the hour, ratios hardly: variants take turns.
`

export const read = (args: ReadonlyArray<string>) => {
  const { values } = parseArgs({
    args: [...args],
    options: {
      puts: { type: "boolean" },
      reads: { type: "boolean" },
      quick: { type: "boolean" },
      url: { type: "string" },
      out: { type: "string" },
      help: { type: "boolean", short: "h" }
    }
  })
  return {
    help: values.help === true,
    effort: values.quick === true ? quick : full,
    puts: values.puts === true || values.reads !== true,
    reads: values.reads === true || values.puts !== true,
    url: values.url,
    out: values.out
  }
}
