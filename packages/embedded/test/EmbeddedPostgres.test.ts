import * as NodeFs from "node:fs"
import * as NodeNet from "node:net"
import * as NodePath from "node:path"
import { EmbeddedPostgres } from "@checkpool/embedded"
import { assert, describe, it, layer } from "@effect/vitest"
import { Config, ConfigProvider, Effect, Exit, Fiber, Layer, Redacted, Scope } from "effect"
import * as Log from "../src/internal/log.ts"
import { isRunning, openFolder, processesAt, query, temporaryFolders, until } from "./support.ts"

const listen = (host: string, port: number) =>
  Effect.acquireRelease(
    Effect.async<NodeNet.Server, Error>((resume) => {
      const server = NodeNet.createServer()
      server.once("error", (cause) => resume(Effect.fail(cause)))
      server.listen({ host, port }, () => resume(Effect.succeed(server)))
    }),
    (server) => Effect.sync(() => server.close())
  )

const names = { username: "The Owner, é/@:%", database: `d'b "1"/?` }
const password = Redacted.make(`p'q"r\\s%/@:ü`)

// Under the test clock on purpose: the server's time is real all the same.
layer(EmbeddedPostgres.layer({ ...names, password, stopTimeout: "500 millis" }))("EmbeddedPostgres", (it) => {
  it.effect("lets a client in with its URL, whatever characters the names and the password have", () =>
    Effect.gen(function* () {
      const { url, version } = yield* EmbeddedPostgres.EmbeddedPostgres
      const [row] = yield* query(
        url,
        "SELECT current_user, current_database(), current_setting('server_version') version"
      )
      assert.deepStrictEqual(row, { current_user: names.username, current_database: names.database, version })
    })
  )

  it.effect("asks every connection for its password, by SCRAM", () =>
    Effect.gen(function* () {
      const { url } = yield* EmbeddedPostgres.EmbeddedPostgres
      const methods = yield* query(url, "SELECT DISTINCT auth_method FROM pg_hba_file_rules")
      assert.deepStrictEqual(methods, [{ auth_method: "scram-sha-256" }])
      const [role] = yield* query(
        url,
        "SELECT rolpassword LIKE 'SCRAM-SHA-256$%' scram FROM pg_authid WHERE rolname = current_user"
      )
      assert.deepStrictEqual(role, { scram: true })
    })
  )

  it.effect("refuses a wrong password", () =>
    Effect.gen(function* () {
      const { url } = yield* EmbeddedPostgres.EmbeddedPostgres
      const error = yield* Effect.flip(query(url, "SELECT 1", { password: "wrong" }))
      assert.strictEqual(error.code, "28P01")
    })
  )

  it.scoped("listens on the loopback address alone, and on no socket file", () =>
    Effect.gen(function* () {
      const { port, url } = yield* EmbeddedPostgres.EmbeddedPostgres
      const [row] = yield* query(
        url,
        "SELECT current_setting('listen_addresses') addresses, current_setting('unix_socket_directories') sockets"
      )
      assert.deepStrictEqual(row, { addresses: "127.0.0.1", sockets: "" })
      // Whatever listened on all addresses would be in the way here.
      yield* listen("::1", port)
    })
  )

  it.effect("commits durably unless it is told otherwise", () =>
    Effect.gen(function* () {
      const { url } = yield* EmbeddedPostgres.EmbeddedPostgres
      assert.deepStrictEqual(yield* query(url, "SHOW fsync"), [{ fsync: "on" }])
      assert.deepStrictEqual(yield* query(url, "SHOW synchronous_commit"), [{ synchronous_commit: "on" }])
    })
  )

  it.effect("has its data and its address after each kind of stop, and after a kill", () =>
    Effect.gen(function* () {
      const server = yield* EmbeddedPostgres.EmbeddedPostgres
      yield* query(server.url, "CREATE TABLE survivors (name text)")
      for (const disturb of [
        server.restart(),
        server.restart({ mode: "immediate" }),
        Effect.zipRight(server.stop(), server.start),
        Effect.zipRight(server.kill, server.start)
      ]) {
        const before = yield* server.serverPid
        yield* query(server.url, "INSERT INTO survivors VALUES ('x')")
        yield* disturb
        assert.notStrictEqual(yield* server.serverPid, before)
      }
      assert.deepStrictEqual(yield* query(server.url, "SELECT count(*)::int FROM survivors"), [{ count: 4 }])
    })
  )

  it.effect("refuses connections while it is stopped, and says that it is", () =>
    Effect.gen(function* () {
      const server = yield* EmbeddedPostgres.EmbeddedPostgres
      yield* server.stop()
      assert.strictEqual(yield* server.serverPid, undefined)
      assert.strictEqual((yield* Effect.flip(query(server.url, "SELECT 1"))).code, "ECONNREFUSED")
      yield* server.stop("immediate")
      yield* server.start
      yield* server.start
      yield* query(server.url, "SELECT 1")
    })
  )

  it.effect("kills its busy children too", () =>
    Effect.gen(function* () {
      const server = yield* EmbeddedPostgres.EmbeddedPostgres
      const busy = yield* Effect.fork(Effect.flip(query(server.url, "SELECT pg_sleep(60)")))
      const sleeping = query(server.url, "SELECT pid FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%'")
      const [row] = yield* Effect.repeat(sleeping, { until: (rows) => rows.length === 1 })
      yield* server.kill
      yield* Fiber.join(busy)
      assert.isFalse(isRunning(Number(row?.pid)))
      yield* server.start
    })
  )

  it.effect("stops even a server that hangs", () =>
    Effect.gen(function* () {
      const server = yield* EmbeddedPostgres.EmbeddedPostgres
      const pid = yield* server.serverPid
      process.kill(pid!, "SIGSTOP")
      yield* server.stop()
      assert.isFalse(isRunning(pid!))
      yield* server.start
      yield* query(server.url, "SELECT 1")
    })
  )
})

describe("EmbeddedPostgres, opened and closed", () => {
  it.scopedLive("leaves neither its process nor its folder", () =>
    Effect.gen(function* () {
      const temporary = yield* temporaryFolders
      const scope = yield* Scope.make()
      const server = yield* Scope.extend(EmbeddedPostgres.make({ parameters: { fsync: "off" } }), scope)
      assert.deepStrictEqual(yield* query(server.url, "SHOW fsync"), [{ fsync: "off" }])
      assert.strictEqual(temporary.list().length, 1)
      yield* Scope.close(scope, Exit.void)
      assert.deepStrictEqual(temporary.list(), [])
      // The guard's shell names the folder too, and may need a moment to read that it is dismissed.
      yield* until("all processes are gone", () => processesAt(server.dataDir).length === 0)
    })
  )

  it.scopedLive("keeps a given folder with its data and password, until given another password", () =>
    Effect.gen(function* () {
      const dataDir = NodePath.join(yield* openFolder, "some", "where")
      const use = <A, E, R>(
        options: EmbeddedPostgres.Options,
        f: (server: EmbeddedPostgres.Service) => Effect.Effect<A, E, R>
      ) => Effect.scoped(Effect.flatMap(EmbeddedPostgres.make({ dataDir, ...options }), f))
      const rows = (server: EmbeddedPostgres.Service) => query(server.url, "SELECT * FROM kept")

      const first = yield* use({ database: "first" }, (server) =>
        Effect.as(query(server.url, "CREATE TABLE kept AS SELECT 1 AS a"), server)
      )
      yield* use({ database: "first" }, (server) =>
        Effect.gen(function* () {
          assert.deepStrictEqual(yield* rows(server), [{ a: 1 }])
          assert.strictEqual(Redacted.value(server.password), Redacted.value(first.password))

          const inUse = yield* Effect.flip(Effect.scoped(EmbeddedPostgres.make({ dataDir })))
          assert.strictEqual(inUse.reason, "DataDirInUse")
        })
      )
      yield* use({ database: "first", password: Redacted.make("it's \\ %41 ü") }, (server) =>
        Effect.gen(function* () {
          assert.deepStrictEqual(yield* rows(server), [{ a: 1 }])
          const old = yield* Effect.flip(query(first.url, "SELECT 1", { port: server.port }))
          assert.strictEqual(old.code, "28P01")
        })
      )
      const other = (yield* listen("127.0.0.1", 0)).address() as NodeNet.AddressInfo
      const taken = yield* Effect.flip(use({ port: other.port }, () => Effect.void))
      assert.strictEqual(taken.reason, "PortTaken")
      assert.include(taken.message, String(other.port))

      const stranger = yield* Effect.flip(use({ username: "somebody" }, () => Effect.void))
      assert.strictEqual(stranger.reason, "IncompatibleData")

      const broken = yield* Effect.flip(use({ parameters: { max_connections: "many" } }, () => Effect.void))
      assert.strictEqual(broken.reason, "StartFailed")
      assert.include(broken.message, 'invalid value for parameter "max_connections": "many"')
      assert.deepStrictEqual(processesAt(`${dataDir}/data`), [])

      NodeFs.writeFileSync(NodePath.join(dataDir, "data", "PG_VERSION"), "9\n")
      const ancient = yield* Effect.flip(use({}, () => Effect.void))
      assert.strictEqual(ancient.reason, "IncompatibleData")
      assert.include(ancient.message, "data of Postgres 9")
    }).pipe(Effect.scoped)
  )

  it.scopedLive("takes its options from the configuration", () =>
    Effect.gen(function* () {
      const Configured = EmbeddedPostgres.layerConfig({ port: Config.integer("PGPORT") }).pipe(
        Layer.provide(Layer.setConfigProvider(ConfigProvider.fromMap(new Map([["PGPORT", "70000"]]))))
      )
      const error = yield* Effect.flip(Effect.scoped(Layer.build(Configured)))
      assert.include(error.message, "70000")
    })
  )
})

describe("EmbeddedPostgres, when it can't start", () => {
  const fails = (options: EmbeddedPostgres.Options) => Effect.flip(Effect.scoped(EmbeddedPostgres.make(options)))

  it.scopedLive("says that the folder can't be written", () =>
    Effect.gen(function* () {
      // Below a regular file not even root can create a folder.
      const file = NodePath.join(yield* openFolder, "file")
      NodeFs.writeFileSync(file, "")
      const error = yield* fails({ dataDir: NodePath.join(file, "data") })
      assert.strictEqual(error.reason, "DataDirNotWritable")
      assert.include(error.message, file)
    })
  )

  it.scopedLive("leaves a folder alone that holds something else", () =>
    Effect.gen(function* () {
      const dataDir = yield* openFolder
      NodeFs.writeFileSync(NodePath.join(dataDir, "thesis.txt"), "")
      assert.strictEqual((yield* fails({ dataDir })).reason, "IncompatibleData")
      assert.deepStrictEqual(
        NodeFs.readdirSync(dataDir).filter((name) => name !== "server.log"),
        ["thesis.txt"]
      )
    })
  )

  it.scopedLive("refuses options that it could not honour", () =>
    Effect.gen(function* () {
      for (const options of [
        { username: "" },
        { username: 'a"b' },
        { password: Redacted.make("two\nlines") },
        { port: 65_536 },
        { parameters: { listen_addresses: "*" } }
      ]) {
        assert.strictEqual((yield* fails(options)).reason, "InvalidOptions")
      }
    })
  )

  it.scopedLive("quotes the log of a failed initialisation", () =>
    Effect.gen(function* () {
      const error = yield* fails({ username: "pg_reserved" })
      assert.strictEqual(error.reason, "InitFailed")
      assert.include(error.message, 'superuser name "pg_reserved" is disallowed')
    })
  )

  it.scopedLive("quotes no password, though initdb does", () =>
    Effect.gen(function* () {
      const path = NodePath.join(yield* openFolder, "server.log")
      NodeFs.writeFileSync(path, `[1] STATEMENT:  ALTER USER "a" WITH PASSWORD E'hun''ter2';\n`)
      const lines = Log.linesSince({ path, fd: -1 }, 0)
      assert.deepStrictEqual(lines, ['[1] STATEMENT:  ALTER USER "a" WITH PASSWORD ***'])
    })
  )

  it.scopedLive("gives up after the start timeout, and leaves nothing", () =>
    Effect.gen(function* () {
      const temporary = yield* temporaryFolders
      const error = yield* fails({ startTimeout: "20 millis" })
      assert.strictEqual(error.reason, "StartTimeout")
      assert.include(error.message, "20ms")
      assert.deepStrictEqual(temporary.list(), [])
      yield* until("all processes are gone", () => processesAt(temporary.path).length === 0)
    })
  )

  for (const [stage, reached] of [
    ["initialisation", (folder: string) => NodeFs.readdirSync(folder).some((name) => name.startsWith("init-"))],
    ["start", (folder: string) => NodeFs.existsSync(NodePath.join(folder, "data", "postmaster.pid"))]
  ] as const) {
    it.scopedLive(`leaves nothing when it is interrupted during its ${stage}`, () =>
      Effect.gen(function* () {
        const temporary = yield* temporaryFolders
        const fiber = yield* Effect.fork(Effect.scoped(EmbeddedPostgres.make()))
        yield* until("it is under way", () => {
          const [name] = temporary.list()
          return name !== undefined && reached(NodePath.join(temporary.path, name))
        })
        const exit = yield* Fiber.interrupt(fiber)
        assert.isTrue(Exit.isInterrupted(exit))
        assert.deepStrictEqual(temporary.list(), [])
        yield* until("all processes are gone", () => processesAt(temporary.path).length === 0)
      })
    )
  }
})
