/**
 * Finds a free loopback port.
 */
import * as NodeNet from "node:net"
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"

/** The only address that this package listens on. */
export const loopback = "127.0.0.1"

// Below the ports that systems hand to outgoing connections (from 32768 on Linux, 49152 elsewhere): while a server is
// stopped, no client can be given its port, nor connect to itself there.
const lowest = 15_432
const highest = 32_767

const isFree = (port: number): Effect.Effect<boolean> =>
  Effect.async((resume) => {
    const server = NodeNet.createServer()
    server.once("error", () => resume(Effect.succeed(false)))
    server.listen({ host: loopback, port, exclusive: true }, () => server.close(() => resume(Effect.succeed(true))))
  })

/** A port that was free a moment ago; whoever listens on it must be ready to lose a race, and ask again. */
export const freePort: Effect.Effect<number> = Random.nextIntBetween(lowest, highest).pipe(
  Effect.repeat({ until: isFree, times: 1000 })
)
