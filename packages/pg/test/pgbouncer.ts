/**
 * A real PgBouncer in front of the server, in transaction mode. Where it is not installed, `PgBouncer` says why instead.
 */
import { type ChildProcess, spawn } from "node:child_process"
import { chownSync, existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs"
import { createServer } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { EmbeddedPostgres } from "@checkpool/embedded"
import { Context, Effect, Layer, Redacted, Schedule } from "effect"
import pg from "pg"
import { through } from "./server.ts"

export interface Service {
  /** The server's URL by way of the pooler. */
  readonly url: Redacted.Redacted
  readonly host: string
  readonly port: number
  /** Runs a command of its administrator: `SHOW SERVERS`, `RECONNECT`, … */
  readonly admin: (command: string) => Effect.Effect<ReadonlyArray<Record<string, string>>>
}

/** The pooler, or why there is none here. */
export class PgBouncer extends Context.Tag("test/PgBouncer")<PgBouncer, Service | string>() {}

const binary = [...(process.env.PATH ?? "").split(":"), "/usr/sbin", "/usr/local/sbin", "/opt/homebrew/bin"]
  .map((folder) => join(folder, "pgbouncer"))
  .find(existsSync)

/** Settings by the names of `pgbouncer.ini`. */
export const layer = (settings: Record<string, string | number> = {}) =>
  Layer.scoped(PgBouncer, binary === undefined ? Effect.succeed("PgBouncer is not installed") : make(binary, settings))

const make = (binary: string, settings: Record<string, string | number>) =>
  Effect.gen(function* () {
    const server = yield* EmbeddedPostgres.EmbeddedPostgres
    // It refuses to run as root, like the server, whose account will do.
    const { gid, uid } = statSync(join(server.dataDir, "data"))
    const folder = yield* Effect.acquireRelease(
      Effect.sync(() => mkdtempSync(join(tmpdir(), "pgbouncer-"))),
      (folder) => Effect.sync(() => rmSync(folder, { recursive: true, force: true }))
    )
    chownSync(folder, uid, gid)
    const file = (name: string, content: string) => {
      writeFileSync(join(folder, name), content, { mode: 0o600 })
      chownSync(join(folder, name), uid, gid)
      return join(folder, name)
    }
    const users = file("users.txt", `"${server.username}" "${Redacted.value(server.password)}"\n`)
    const start = Effect.gen(function* () {
      const port = yield* freePort
      const ini = file(
        "pgbouncer.ini",
        [
          "[databases]",
          `${server.database} = host=${server.host} port=${server.port}`,
          "[pgbouncer]",
          ...Object.entries({
            listen_addr: server.host,
            listen_port: port,
            unix_socket_dir: "",
            auth_type: "scram-sha-256",
            auth_file: users,
            admin_users: server.username,
            pool_mode: "transaction",
            ...settings
          }).map(([name, value]) => `${name} = ${value}`)
        ].join("\n")
      )
      const child = yield* running(spawn(binary, ["--quiet", ini], { cwd: "/", stdio: "ignore", uid, gid }))
      const way = { host: server.host, port }
      const url = through(server.url, way)
      const admin = (command: string) => ask(url, command)
      yield* admin("SHOW VERSION").pipe(
        Effect.retry({ while: () => child.exitCode === null, schedule: Schedule.spaced("20 millis") })
      )
      return { ...way, url, admin: (command) => Effect.orDie(admin(command)) } satisfies Service
    })
    // The port may have been taken in between.
    return yield* Effect.retry(start, { times: 3 })
  })

const running = (child: ChildProcess) =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const kill = () => child.kill("SIGKILL")
      process.once("exit", kill)
      child.once("exit", () => process.off("exit", kill))
      return child
    }),
    () =>
      Effect.async<void>((resume) => {
        if (child.exitCode !== null || child.signalCode !== null) return resume(Effect.void)
        child.once("exit", () => resume(Effect.void))
        child.kill("SIGTERM")
      })
  )

const ask = (url: Redacted.Redacted, command: string) =>
  Effect.tryPromise(async () => {
    const to = new URL(Redacted.value(url))
    to.pathname = "pgbouncer"
    const client = new pg.Client({ connectionString: to.href })
    client.on("error", () => {})
    await client.connect()
    try {
      return (await client.query<Record<string, string>>(command)).rows
    } finally {
      await client.end()
    }
  })

const freePort = Effect.async<number>((resume) => {
  const server = createServer()
  server.listen(0, "127.0.0.1", () => {
    const address = server.address()
    server.close(() => resume(Effect.succeed(typeof address === "object" && address !== null ? address.port : 0)))
  })
})
