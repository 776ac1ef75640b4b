/**
 * The report as a file.
 */
import * as NodeFs from "node:fs"
import * as NodeOs from "node:os"
import * as NodePath from "node:path"
import { Clock, Effect } from "effect"
import { document } from "./document.ts"
import type { Findings } from "./result.ts"
import { reason, WitnessError } from "./trouble.ts"
import type { Verdict } from "./verdict.ts"

/** Where it goes if nobody says where: each run replaces the last one's, and those of other users are left alone. */
export const usual = NodePath.join(NodeOs.tmpdir(), `checkpool-witness-${process.getuid?.() ?? "report"}.html`)

/** Whether it could be written there. */
export const check = (path: string): Effect.Effect<void, WitnessError> =>
  attempt(path, () => {
    NodeFs.accessSync(NodePath.dirname(NodePath.resolve(path)), NodeFs.constants.W_OK)
    if (NodeFs.existsSync(path)) NodeFs.accessSync(path, NodeFs.constants.W_OK)
  })

/** Gives a sentence that says where it is. */
export const save = (
  path: string,
  findings: Findings,
  verdicts: ReadonlyArray<Verdict>
): Effect.Effect<string, WitnessError> =>
  Effect.flatMap(Clock.currentTimeMillis, (now) =>
    attempt(path, () => {
      NodeFs.writeFileSync(path, document(findings, verdicts, new Date(now)))
      return `With plots: ${NodePath.resolve(path)}`
    })
  )

const attempt = <A>(path: string, write: () => A): Effect.Effect<A, WitnessError> =>
  Effect.try({
    try: write,
    catch: (cause) =>
      new WitnessError({
        message: `The report can't be written to ${path}: ${reason(cause)}. Choose another place with --report FILE.`,
        cause
      })
  })
