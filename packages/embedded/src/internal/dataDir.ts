/**
 * The data folder as such: given or temporary, and in the hands of the account that runs the server.
 */
import * as NodeFs from "node:fs"
import * as NodeOs from "node:os"
import * as NodePath from "node:path"
import * as Effect from "effect/Effect"
import { EmbeddedPostgresError } from "../EmbeddedPostgresError.ts"
import * as Account from "./account.ts"
import type * as Log from "./log.ts"

const removeFolder = (path: string) =>
  Effect.promise(() => NodeFs.promises.rm(path, { recursive: true, force: true, maxRetries: 5 }))

/** A given folder, made usable; or a temporary one, removed with the scope. */
export const open = (dataDir: string | undefined, account: Account.Account) => {
  if (dataDir !== undefined) {
    const path = NodePath.resolve(dataDir)
    return Effect.as(prepare(path, account), path)
  }
  const temporary = Effect.try({
    try: () => {
      const path = NodeFs.mkdtempSync(NodePath.join(NodeOs.tmpdir(), "checkpool-embedded-"))
      Account.give(path, account)
      return path
    },
    catch: (cause) =>
      EmbeddedPostgresError.of({
        reason: "DataDirNotWritable",
        what: `No temporary folder can be created in ${NodeOs.tmpdir()}.`,
        hint: "Set TMPDIR to a folder that can be written, or give a data folder.",
        cause
      })
  })
  return Effect.acquireRelease(temporary, removeFolder).pipe(Effect.tap((path) => prepare(path, account)))
}

/** The log in a data folder, open as long as the scope. */
export const openLog = (dataDir: string, account: Account.Account) => {
  const path = NodePath.join(dataDir, "server.log")
  return Effect.acquireRelease(
    Effect.try({
      try: (): Log.Log => ({ fd: Account.openFor(path, account), path }),
      catch: (cause) =>
        EmbeddedPostgresError.of({
          reason: "DataDirNotWritable",
          what: `The log ${path} can't be written.`,
          hint: "Remove what is in its place, or give another folder.",
          cause
        })
    }),
    ({ fd }) => Effect.sync(() => NodeFs.closeSync(fd))
  )
}

/** Makes sure that the folder exists and that the account can write it. */
const prepare = (dataDir: string, account: Account.Account): Effect.Effect<void, EmbeddedPostgresError> =>
  Effect.try(() => {
    const created = NodeFs.mkdirSync(dataDir, { recursive: true })
    if (created !== undefined) NodeFs.chmodSync(dataDir, 0o700)
    if (created !== undefined || NodeFs.readdirSync(dataDir).length === 0) Account.give(dataDir, account)
    return created
  }).pipe(
    Effect.tap((created) =>
      Account.runShort(account, `cd "$1" && test -r . && test -w .`, [dataDir]).pipe(
        Effect.onError(() => Effect.sync(() => created && removeEmpty(dataDir, created)))
      )
    ),
    Effect.mapError((failure) =>
      EmbeddedPostgresError.of({
        reason: "DataDirNotWritable",
        what: `The data folder ${dataDir} can't be created or written${account ? ` by ${account.name}, whom root lends its server` : ""}: ${"output" in failure && failure.output !== "" ? failure.output : message(failure.cause)}`,
        hint: "Give a folder that this account can reach and write, or none for a temporary one.",
        cause: failure.cause
      })
    )
  )

const removeEmpty = (dataDir: string, outermost: string) => {
  for (let path = dataDir; path.length >= outermost.length; path = NodePath.dirname(path)) {
    try {
      NodeFs.rmdirSync(path)
    } catch {
      return // somebody uses it
    }
  }
}

const message = (cause: unknown) => (cause instanceof Error ? cause.message : String(cause))
