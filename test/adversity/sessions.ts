/**
 * The server's own account of its sessions, from its log: exact, where looks at `pg_stat_activity` miss what is shorter
 * than the pause between them.
 */

export interface Account {
  /** The most sessions that were there at once, from their authorization to the end of their process. */
  readonly sessions: number
  /** The most connects that were under way at once, from their arrival to their authorization or refusal. */
  readonly connecting: number
  /** Connects that were refused, by the server's words. */
  readonly refused: ReadonlyArray<string>
}

interface Peer {
  outside: boolean
  readonly arrived: number
  authorized: number | undefined
  ended: number | undefined
}

const line = /^(\d+) (?:LOG|FATAL): {2}(.*)$/
const arrival = /^connection received: host=\S+ port=(\d+)/
/** No word about single sessions: all of them are gone. */
const anew = /^(starting PostgreSQL|all server processes terminated)/
/** The session is told to end; its process ends later, and says so. */
const farewell = /^terminating (connection|background)/

/** Reads a log, leaving out the connections from the given ports. */
export const sessionsIn = (log: string, outsidePorts: ReadonlySet<number>): Account => {
  const peers: Array<Peer> = []
  const refused: Array<string> = []
  const here = new Map<string, Peer>()
  const end = (pid: string, at: number) => {
    const peer = here.get(pid)
    if (peer !== undefined) peer.ended = at
    here.delete(pid)
  }
  for (const [at, text] of log.split("\n").entries()) {
    const [, pid, said] = line.exec(text) ?? []
    if (pid === undefined || said === undefined) continue
    const port = arrival.exec(said)?.[1]
    const peer = here.get(pid)
    if (anew.test(said)) for (const pid of [...here.keys()]) end(pid, at)
    else if (port !== undefined) {
      const peer = { outside: outsidePorts.has(Number(port)), arrived: at, authorized: undefined, ended: undefined }
      peers.push(peer)
      here.set(pid, peer)
    } else if (peer === undefined) continue
    else if (said.startsWith("connection authorized")) {
      peer.authorized = at
      if (said.includes("application_name=outside")) peer.outside = true
    } else if (said.startsWith("disconnection")) end(pid, at)
    else if (text.includes("FATAL") && !farewell.test(said)) {
      if (!peer.outside) refused.push(said)
      end(pid, at)
    }
  }
  const ours = peers.filter((peer) => !peer.outside)
  return {
    sessions: most(ours.flatMap(({ authorized, ended }) => (authorized === undefined ? [] : [[authorized, ended]]))),
    // What arrived and was neither let in nor refused is a cancel.
    connecting: most(
      ours.flatMap(({ arrived, authorized, ended }) => {
        const until = authorized ?? ended
        return until === undefined ? [] : [[arrived, until]]
      })
    ),
    refused
  }
}

type Span = readonly [from: number, until: number | undefined]

/** The most of them that overlap. */
const most = (spans: ReadonlyArray<Span>): number => {
  const steps = spans.flatMap(([from, until]) => [
    [from, 1] as const,
    ...(until === undefined ? [] : [[until, -1] as const])
  ])
  let now = 0
  let most = 0
  for (const [, step] of steps.sort(([a], [b]) => a - b)) {
    now += step
    most = Math.max(most, now)
  }
  return most
}
