import { Checkpoint, type CheckpointError, type Checkpointer } from "@checkpool/checkpoint"
import { expect, type Vitest } from "@effect/vitest"
import { Effect, Option } from "effect"
import { checkpoint, get, getSome, put } from "./use.ts"

/** Identifiers that a database can hold, and others. */
export const identifiers = (it: Vitest.MethodsNonLive<Checkpointer.Checkpointer>) => {
  it.effect("refuses identifiers that a database can't hold", () =>
    Effect.gen(function* () {
      const threadId = yield* Checkpoint.makeId
      const good = checkpoint("1")
      const long = "x".repeat(2601)
      type Reason = CheckpointError.InvalidIdentifier["reason"]
      type Case = readonly [field: string, Reason, Partial<Checkpointer.PutOptions>]
      const refused: ReadonlyArray<Case> = [
        ["threadId", "Empty", { threadId: "" }],
        ["threadId", "Nul", { threadId: "a\0" }],
        ["threadId", "LoneSurrogate", { threadId: "a\uD83C" }],
        ["threadId", "TooLong", { threadId: long }],
        ["threadId", "NotAString", { threadId: undefined as unknown as string }],
        ["namespace", "Nul", { namespace: "\0" }],
        ["namespace", "TooLong", { namespace: "é".repeat(1300) }],
        ["checkpointId", "Empty", { checkpoint: checkpoint("") }],
        ["checkpointId", "LoneSurrogate", { checkpoint: checkpoint("\uDC00\uD800") }],
        ["parentId", "Empty", { parentId: "" }],
        ["channel", "Nul", { newVersions: { "a\0": 1 } }],
        ["channel", "TooLong", { newVersions: { [long]: 1 } }],
        ["version", "LoneSurrogate", { newVersions: { a: "\uD800" } }],
        ["version", "NotFinite", { newVersions: { a: Number.NaN } }]
      ]
      for (const [field, reason, options] of refused) {
        const error = yield* Effect.flip(put({ threadId, checkpoint: good, ...options }))
        expect(error).toMatchObject({ _tag: "InvalidIdentifier", field, reason })
      }
      expect(yield* Effect.flip(get({ threadId: "\0" }))).toMatchObject({ field: "threadId", reason: "Nul" })
      expect(yield* Effect.flip(get({ threadId, checkpointId: "" }))).toMatchObject({ field: "checkpointId" })
      expect(yield* get({ threadId })).toEqual(Option.none())
    })
  )

  it.effect("takes identifiers of the greatest length, whatever is in them", () =>
    Effect.gen(function* () {
      // Noise, so that compression can't help; cut to the limit in bytes together with the other identifiers.
      const noise = (bytes: number) =>
        Array.from({ length: bytes }, (_, i) => String.fromCharCode(33 + ((i * i * 7919 + i * 104729) % 94))).join("")
      const threadId = `${yield* Checkpoint.makeId}${noise(1164)}`
      const channel = noise(2600 - 1200 - 1)
      const saved = checkpoint(noise(1400), {
        channel_values: { [channel]: 1 },
        channel_versions: { [channel]: 1 }
      })
      yield* put({ threadId, checkpoint: saved, newVersions: { [channel]: 1 } })
      expect((yield* getSome({ threadId })).checkpoint).toEqual(saved)
    })
  )
}
