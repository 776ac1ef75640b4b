import { once } from "node:events"
import * as NodeNet from "node:net"
import { TcpRelay } from "@checkpool/embedded"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Scope } from "effect"
import { until } from "./support.ts"

/** A server that sends back what it gets, and remembers how its connections went. */
const echo = Effect.acquireRelease(
  Effect.async<{ server: NodeNet.Server; host: string; port: number; ended: number; reset: number; open: number }>(
    (resume) => {
      const server = NodeNet.createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
        state.open++
        socket.on("data", (chunk) => socket.write(chunk))
        socket.on("end", () => {
          state.ended++
          socket.end()
        })
        socket.on("error", () => {
          state.reset++
        })
        socket.on("close", () => {
          state.open--
        })
      })
      const state = { server, host: "127.0.0.1", port: 0, ended: 0, reset: 0, open: 0 }
      server.listen(0, state.host, () => {
        state.port = (server.address() as NodeNet.AddressInfo).port
        resume(Effect.succeed(state))
      })
    }
  ),
  ({ server }) => Effect.sync(() => server.close())
)

/** A client that collects what it gets. */
const client = (relay: TcpRelay.TcpRelay) =>
  Effect.acquireRelease(
    Effect.async<{ socket: NodeNet.Socket; got: () => Buffer; isEnded: () => boolean; code: () => string }, Error>(
      (resume) => {
        const chunks: Array<Buffer> = []
        let ended = false
        let code = ""
        const socket = NodeNet.connect({ host: relay.host, port: relay.port, noDelay: true, allowHalfOpen: true })
        socket.on("data", (chunk) => chunks.push(chunk))
        socket.on("end", () => {
          ended = true
        })
        socket.on("error", (cause: NodeJS.ErrnoException) => {
          code = cause.code ?? ""
          resume(Effect.fail(cause))
        })
        socket.on("connect", () =>
          resume(Effect.succeed({ socket, got: () => Buffer.concat(chunks), isEnded: () => ended, code: () => code }))
        )
      }
    ),
    ({ socket }) => Effect.sync(() => socket.destroy())
  )

const roundTrip = (socket: NodeNet.Socket) =>
  Effect.promise(async () => {
    const start = performance.now()
    socket.write("x")
    await once(socket, "data")
    return performance.now() - start
  })

// Not the median: how busy the machine is at the moment is not the relay's doing.
const lowerQuartile = (numbers: ReadonlyArray<number>) =>
  [...numbers].sort((a, b) => a - b)[numbers.length >> 2] ?? Number.NaN

describe("TcpRelay", () => {
  it.scopedLive("delays a round trip by what is asked, within a millisecond", () =>
    Effect.gen(function* () {
      const relay = yield* TcpRelay.make({ target: yield* echo })
      const { socket } = yield* client(relay)
      for (const asked of [0, 3, 10]) {
        yield* relay.setRoundTrip(asked)
        yield* roundTrip(socket)
        const times = yield* Effect.all(Array.from({ length: 21 }, () => roundTrip(socket)))
        assert.isAtLeast(Math.min(...times), asked)
        assert.isBelow(lowerQuartile(times), asked + 1)
      }
    })
  )

  it.scopedLive("makes opening a connection cost a round trip too", () =>
    Effect.gen(function* () {
      const relay = yield* TcpRelay.make({ target: yield* echo, roundTrip: "20 millis" })
      const { socket } = yield* client(relay)
      assert.isAtLeast(yield* roundTrip(socket), 40)
    })
  )

  it.scopedLive("delays a stream once, not once for each piece, and keeps its bytes in order", () =>
    Effect.gen(function* () {
      const relay = yield* TcpRelay.make({ target: yield* echo, roundTrip: "20 millis" })
      const { got, socket } = yield* client(relay)
      const pieces = Array.from({ length: 2000 }, (_, i) => Buffer.from(`${i};`.repeat(400)))
      const sent = Buffer.concat(pieces)
      const start = performance.now()
      for (const [i, piece] of pieces.entries()) {
        socket.write(piece)
        if (i === 1000) yield* relay.setRoundTrip("1 millis")
        if (i % 100 === 0) yield* Effect.yieldNow({ priority: 1 })
      }
      yield* until("all came back", () => got().length >= sent.length)
      // One after the other, 2000 pieces would take 20 seconds.
      assert.isBelow(performance.now() - start, 5000)
      assert.isTrue(got().equals(sent))
      const { bytesToClient, bytesToTarget } = yield* relay.stats
      assert.deepStrictEqual([bytesToTarget, bytesToClient], [sent.length, sent.length])
    })
  )

  it.scopedLive("cuts: both ends see a reset, and new connections work", () =>
    Effect.gen(function* () {
      const target = yield* echo
      const relay = yield* TcpRelay.make({ target })
      const first = yield* client(relay)
      yield* roundTrip(first.socket)
      yield* relay.cut
      yield* until("the client is reset", () => first.code() === "ECONNRESET")
      yield* until("the target is reset", () => target.reset === 1)
      const second = yield* client(relay)
      yield* roundTrip(second.socket)
      const { accepted, open } = yield* relay.stats
      assert.deepStrictEqual({ accepted, open }, { accepted: 2, open: 1 })
    })
  )

  it.scopedLive("cuts what is just about to end: no socket is left behind", () =>
    Effect.gen(function* () {
      const sockets = () => process.getActiveResourcesInfo().filter((kind) => kind === "TCPSocketWrap").length
      yield* until("none is left of other tests", () => sockets() === 0)
      yield* Effect.scoped(
        Effect.gen(function* () {
          const relay = yield* TcpRelay.make({ target: yield* echo })
          const { socket } = yield* client(relay)
          yield* roundTrip(socket)
          yield* relay.blackhole
          socket.end("last words")
          // Another connection's way through the kernel is as long as that of the words.
          yield* Effect.all([client(relay), Effect.sleep("20 millis")])
          // In one turn of the event loop: the words and the end are not yet written when the cut comes.
          yield* Effect.zipRight(relay.restore, relay.cut)
        })
      )
      yield* until("all sockets are closed", () => sockets() === 0)
    })
  )

  it.scopedLive("swallows nothing in a black hole: what was sent meanwhile arrives after it", () =>
    Effect.gen(function* () {
      const target = yield* echo
      const relay = yield* TcpRelay.make({ target })
      const old = yield* client(relay)
      yield* roundTrip(old.socket)
      yield* relay.blackhole
      const { accepted, bytesToTarget } = yield* relay.stats
      const fresh = yield* client(relay)
      old.socket.write("a")
      fresh.socket.write("b")
      yield* until("the new connection is accepted", () => Effect.runSync(relay.stats).accepted === accepted + 1)
      // A third connection's way through the kernel is as long as that of the bytes above.
      yield* Effect.all([client(relay), Effect.sleep("20 millis")])
      assert.strictEqual((yield* relay.stats).bytesToTarget, bytesToTarget)
      assert.strictEqual(target.open, 1)
      yield* relay.restore
      yield* until("both came back", () => old.got().toString() === "xa" && fresh.got().toString() === "b")
    })
  )

  it.scopedLive("refuses new connections while open ones live on", () =>
    Effect.gen(function* () {
      const relay = yield* TcpRelay.make({ target: yield* echo })
      const { socket } = yield* client(relay)
      yield* relay.refuse
      const error = yield* Effect.flip(client(relay))
      assert.strictEqual((error as NodeJS.ErrnoException).code, "ECONNREFUSED")
      yield* roundTrip(socket)
      yield* relay.accept
      yield* roundTrip((yield* client(relay)).socket)
    })
  )

  it.scopedLive("closes one direction and leaves the other open", () =>
    Effect.gen(function* () {
      const target = yield* echo
      const relay = yield* TcpRelay.make({ target })
      const { got, isEnded, socket } = yield* client(relay)
      yield* roundTrip(socket)
      yield* relay.halfClose("client")
      yield* until("the client sees the end", isEnded)
      const before = (yield* relay.stats).bytesToTarget
      socket.write("still")
      yield* until("the target gets more", () => Effect.runSync(relay.stats).bytesToTarget === before + 5)
      assert.strictEqual(target.ended, 0)
      assert.strictEqual(got().toString(), "x")
      yield* relay.halfClose("target")
      yield* until("the target sees the end", () => target.ended === 1)
    })
  )

  it.scopedLive("hands on the end of a connection, and forgets it", () =>
    Effect.gen(function* () {
      const target = yield* echo
      const relay = yield* TcpRelay.make({ target, roundTrip: "2 millis" })
      const { isEnded, socket } = yield* client(relay)
      yield* roundTrip(socket)
      socket.end()
      yield* until("the client sees the target's end", isEnded)
      yield* until("it is forgotten", () => Effect.runSync(relay.stats).open === 0)
      assert.deepStrictEqual({ ended: target.ended, reset: target.reset }, { ended: 1, reset: 0 })
    })
  )

  it.scopedLive("resets a client whose target refuses", () =>
    Effect.gen(function* () {
      const target = yield* echo
      const { host, port } = target
      yield* Effect.async<void>((resume) => {
        target.server.close(() => resume(Effect.void))
      })
      const relay = yield* TcpRelay.make({ target: { host, port } })
      const { code } = yield* client(relay)
      yield* until("the client is reset", () => code() === "ECONNRESET")
    })
  )

  it.scopedLive("closes everything with its scope", () =>
    Effect.gen(function* () {
      const target = yield* echo
      const scope = yield* Scope.make()
      const relay = yield* Scope.extend(TcpRelay.make({ target, roundTrip: "2 millis" }), scope)
      const { code, socket } = yield* client(relay)
      yield* roundTrip(socket)
      yield* Scope.close(scope, Exit.void)
      yield* until("the client is reset", () => code() === "ECONNRESET")
      yield* until("the target is rid of it", () => target.open === 0)
      assert.strictEqual((yield* relay.stats).open, 0)
      assert.strictEqual(((yield* Effect.flip(client(relay))) as NodeJS.ErrnoException).code, "ECONNREFUSED")
    })
  )
})
