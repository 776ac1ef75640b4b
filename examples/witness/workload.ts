/**
 * The load: conversations that are played side by side, each turn saved as a checkpoint before the next one.
 */
import { Checkpoint, Checkpointer } from "@checkpool/checkpoint"
import { Clock, Effect, Either } from "effect"
import * as Conversation from "./conversation.ts"
import type { Ledger } from "./ledger.ts"
import { tally } from "./measure.ts"
import type { Scene } from "./play.ts"
import { tag } from "./trouble.ts"

export interface Workload {
  readonly scenes: ReadonlyArray<Scene>
  readonly steps: number
  readonly ledger: Ledger
  readonly run: string
}

/** What became of the writes of a phase, while it goes on. */
export class Outcome {
  /** How long each write that succeeded took, in milliseconds. */
  readonly latencies: Array<number> = []
  readonly failures: Array<string> = []

  get tried(): number {
    return this.latencies.length + this.failures.length
  }

  get failed(): Record<string, number> {
    return tally(this.failures)
  }
}

export type Put = (options: Checkpointer.PutOptions) => Effect.Effect<unknown, unknown>

/** Plays one conversation after another with as many callers, until it is done. */
export const play = (
  workload: Workload,
  options: {
    readonly callers: number
    readonly outcome: Outcome
    readonly done: (nowMillis: number) => boolean
    /** How a write is made, where it isn't simply made. */
    readonly through?: ((put: Put) => Put) | undefined
  }
): Effect.Effect<void, never, Checkpointer.Checkpointer> =>
  Effect.gen(function* () {
    const checkpointer = yield* Checkpointer.Checkpointer
    const put: Put = options.through?.(checkpointer.put) ?? checkpointer.put
    const caller = Effect.gen(function* () {
      while (!options.done(yield* now)) {
        const conversation = begin(workload)
        let parentId: string | undefined
        for (let turn = 0; turn < workload.steps && !options.done(yield* now); turn++) {
          const saved = yield* save(workload, { conversation, turn, parentId, put, outcome: options.outcome })
          // The thread of a write that failed is left as it is, for whoever looks at what is in the database.
          if (saved === undefined) break
          parentId = saved
        }
      }
    })
    yield* Effect.all(
      Array.from({ length: options.callers }, () => caller),
      { concurrency: "unbounded", discard: true }
    )
  })

export const begin = ({ ledger, run, scenes, steps }: Workload): Conversation.Conversation => {
  const index = ledger.next()
  return Conversation.make(scenes, { threadId: `${run}-${index}`, index, steps })
}

/** One turn as one checkpoint; gives its id, or nothing when it failed. */
export const save = (
  { ledger }: Workload,
  turn: {
    readonly conversation: Conversation.Conversation
    readonly turn: number
    readonly parentId: string | undefined
    readonly put: Put
    readonly outcome: Outcome
  }
): Effect.Effect<string | undefined> =>
  Effect.gen(function* () {
    const state = Conversation.stateAt(turn.conversation, turn.turn)
    const checkpoint = yield* Checkpoint.make({ channel_values: state.values, channel_versions: state.versions })
    const { conversation, parentId } = turn
    const entry = ledger.tried({ conversation, turn: turn.turn, checkpointId: checkpoint.id, parentId })
    const began = yield* now
    const result = yield* Effect.either(
      turn.put({
        threadId: conversation.threadId,
        checkpoint,
        metadata: state.metadata,
        parentId,
        newVersions: state.changed
      })
    )
    if (Either.isLeft(result)) {
      turn.outcome.failures.push(tag(result.left))
      return undefined
    }
    entry.acked = true
    turn.outcome.latencies.push((yield* now) - began)
    return checkpoint.id
  })

/** Monotonic, in milliseconds. */
export const now: Effect.Effect<number> = Effect.map(Clock.currentTimeNanos, (nanos) => Number(nanos) / 1e6)
