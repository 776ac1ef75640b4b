/**
 * A conversation as a graph would play it: one speech a turn, and after each turn the whole state as a checkpoint.
 *
 * Pure, and a function of the thread and the turn alone: what must be in the database can be worked out again when it
 * is read back.
 */
import type { Checkpoint } from "@checkpool/checkpoint"
import type { Scene, Speech } from "./play.ts"

export interface Conversation {
  readonly threadId: string
  readonly scene: string
  readonly speeches: ReadonlyArray<Speech>
}

/** What a checkpoint is made of after a turn, but for its id. */
export interface State {
  readonly values: Checkpoint.Checkpoint["channel_values"]
  readonly versions: Record<string, number>
  /** The channels that this turn has changed, with their versions: only these are written. */
  readonly changed: Record<string, number>
  readonly metadata: Checkpoint.Metadata
}

/** The conversation number `index`: another part of another scene each time. */
export const make = (
  scenes: ReadonlyArray<Scene>,
  options: { readonly threadId: string; readonly index: number; readonly steps: number }
): Conversation => {
  const scene = scenes[options.index % scenes.length]!
  const begin = (Math.floor(options.index / scenes.length) * 7) % scene.speeches.length
  const speeches = Array.from(
    { length: options.steps },
    (_, turn) => scene.speeches[(begin + turn) % scene.speeches.length]!
  )
  return { threadId: options.threadId, scene: scene.title, speeches }
}

/** The state after turn number `turn`, counted from 0. */
export const stateAt = ({ scene, speeches }: Conversation, turn: number): State => {
  const messages = speeches.slice(0, turn + 1)
  const cast: Array<string> = []
  const versions: Record<string, number> = { messages: turn + 1, turn: turn + 1, scene: 1, speaker: 1, cast: 1 }
  messages.forEach(({ speaker }, i) => {
    if (speaker !== messages[i - 1]?.speaker) versions.speaker = i + 1
    if (cast.includes(speaker)) return
    cast.push(speaker)
    versions.cast = i + 1
  })
  return {
    values: { messages, turn, scene, speaker: messages[turn]?.speaker, cast },
    versions,
    changed: Object.fromEntries(Object.entries(versions).filter(([, version]) => version === turn + 1)),
    metadata: { source: turn === 0 ? "input" : "loop", step: turn - 1 }
  }
}
