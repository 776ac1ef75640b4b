import { Checkpointer } from "@checkpool/checkpoint"
import { describe, expect, it } from "@effect/vitest"
import { Deferred, Effect, Layer } from "effect"
import { SaverEnded } from "../src/CheckpoolSaverError.ts"
import * as Host from "../src/internal/host.ts"

/** A host that opens something, and then the rest. */
const make = (rest: Effect.Effect<void, string>) => {
  const log: Array<string> = []
  const say = (line: string) => Effect.sync(() => log.push(line))
  const first = Layer.scopedDiscard(Effect.acquireRelease(say("opened"), () => say("closed")))
  const second = Layer.unwrapEffect(Effect.as(rest, Checkpointer.layerMemory))
  const host = Host.make(Layer.provide(second, first))
  return { call: () => host.use(() => Effect.void, undefined), host, log }
}

describe("what has been opened", () => {
  it("is closed if the saver ends before the rest is", async () => {
    const begun = Effect.runSync(Deferred.make<void>())
    const { call, host, log } = make(Effect.zipRight(Deferred.succeed(begun, undefined), Effect.never))
    const result = call().catch((error) => error)
    await Effect.runPromise(Deferred.await(begun))
    await host.close()
    expect(log).toEqual(["opened", "closed"])
    expect(await result).toBeInstanceOf(SaverEnded)
  })

  it("is closed if the rest can't be, before the next call tries again", async () => {
    const { call, host, log } = make(Effect.fail("no"))
    await expect(call()).rejects.toBe("no")
    await expect(call()).rejects.toBe("no")
    await host.close()
    expect(log).toEqual(["opened", "closed", "opened", "closed"])
  })

  it("is closed once, however often the saver is ended", async () => {
    const { call, host, log } = make(Effect.void)
    await Promise.all([call(), call()])
    await Promise.all([host.close(), host.close()])
    await host.close()
    expect(log).toEqual(["opened", "closed"])
  })
})
