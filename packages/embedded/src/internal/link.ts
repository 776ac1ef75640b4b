/**
 * One connection through a relay: a client's socket, a socket to the target, and the line between them.
 */
import * as NodeNet from "node:net"
import type { DelayLine } from "./delayLine.ts"

/** One of the two ends that a relay stands between. */
export type Side = "client" | "target"

/** A connection through the relay. */
export interface Link {
  /** Resets both sockets now. */
  readonly reset: () => void
  /** Ends the stream toward one side, after what is on its way. */
  readonly end: (toward: Side) => void
}

// What may be in the line for one direction before its sender has to wait: a whole second at 128 Mbit/s.
const maxInFlight = 16 * 1024 * 1024

/** While an end is on its way a reset fails (EINVAL), and Node leaves the socket open for good. */
const isEnding = (socket: NodeNet.Socket | undefined) => socket?.writableEnded === true && !socket.writableFinished

/** Connects a paused client to the target. */
export const makeLink = (
  client: NodeNet.Socket,
  target: { readonly host: string; readonly port: number },
  line: DelayLine,
  on: {
    readonly delivered: (to: Side, bytes: number) => void
    readonly closed: (link: Link) => void
  }
): Link => {
  let upstream: NodeNet.Socket | undefined
  let isReset = false

  const reset = () => {
    if (isReset) return
    isReset = true
    for (const socket of [client, upstream]) {
      if (socket?.connecting || isEnding(socket)) socket?.destroy()
      else socket?.resetAndDestroy()
    }
    on.closed(link)
  }
  const finish = (socket: NodeNet.Socket) => {
    if (!socket.destroyed && !socket.writableEnded) socket.end()
  }
  const link: Link = {
    reset,
    end: (toward) => line.push(() => (toward === "client" ? finish(client) : upstream && finish(upstream)))
  }

  const forward = (from: NodeNet.Socket, to: NodeNet.Socket, side: Side) => {
    let inFlight = 0
    const flow = () => {
      if (inFlight < maxInFlight && !to.writableNeedDrain) from.resume()
    }
    from.on("data", (chunk) => {
      inFlight += chunk.length
      if (inFlight >= maxInFlight) from.pause()
      line.push(() => {
        inFlight -= chunk.length
        if (to.destroyed || to.writableEnded) return
        on.delivered(side, chunk.length)
        if (to.write(chunk)) flow()
        else from.pause()
      })
    })
    from.on("end", () => line.push(() => finish(to)))
    to.on("drain", flow)
  }

  // A socket that breaks resets the other one, when the news has travelled. One that ends in order says so by "end".
  let open = 2
  const watch = (socket: NodeNet.Socket) => {
    socket.on("error", () => line.push(reset))
    socket.on("close", () => {
      open -= 1
      if (open === 0 && !isReset) {
        isReset = true
        on.closed(link)
      }
    })
  }

  watch(client)
  // The handshake travels too: there, and back.
  line.push(() => {
    if (isReset) return
    upstream = NodeNet.connect({ ...target, allowHalfOpen: true, noDelay: true })
    const connected = upstream
    watch(connected)
    connected.once("connect", () =>
      line.push(() => {
        if (isReset) return
        forward(client, connected, "target")
        forward(connected, client, "client")
        client.resume()
        connected.resume()
      })
    )
  })
  return link
}
