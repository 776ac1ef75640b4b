import * as NodeFs from "node:fs"
import { NodeContext } from "@effect/platform-node"
import { describe, expect, it } from "@effect/vitest"
import { Effect, FastCheck } from "effect"
import * as Conversation from "../../examples/witness/conversation.ts"
import { percentile, summary, tally } from "../../examples/witness/measure.ts"
import * as Play from "../../examples/witness/play.ts"
import * as Progress from "../../examples/witness/progress.ts"

describe("The play", () => {
  it("is parsed into scenes and speeches", () => {
    const text = "# About it.\n\n== ACT I ==\n\nADAM\nYonder comes\nmy master.\n\nORLANDO\nGo apart.\n\n== ACT II ==\n"
    expect(Play.parse(text)).toEqual([
      {
        title: "ACT I",
        speeches: [
          { speaker: "ADAM", text: "Yonder comes\nmy master." },
          { speaker: "ORLANDO", text: "Go apart." }
        ]
      },
      { title: "ACT II", speeches: [] }
    ])
  })

  it("reads the same with the line ends of Windows, and nothing out of nothing", () => {
    const text = "== I ==\n\nADAM\nYes.\n"
    expect(Play.parse(text.replaceAll("\n", "\r\n"))).toEqual(Play.parse(text))
    expect(Play.parse("")).toEqual([])
  })

  it.effect("is there whole: 22 scenes and the epilogue, each with somebody to speak", () =>
    Effect.gen(function* () {
      const scenes = yield* Play.load
      expect(scenes.length).toBe(23)
      expect(scenes.every(({ speeches }) => speeches.length > 0)).toBe(true)
      expect(scenes.flatMap(({ speeches }) => speeches).length).toBe(811)
      expect(scenes.at(-1)?.speeches[0]?.speaker).toBe("ROSALIND")
    }).pipe(Effect.provide(NodeContext.layer))
  )
})

describe("A conversation", () => {
  const scene = {
    title: "I",
    speeches: ["A", "A", "B", "A"].map((speaker, i) => ({ speaker, text: `line ${i}` }))
  }
  const conversation = Conversation.make([scene], { threadId: "t", index: 0, steps: 4 })

  it("writes only the channels that a turn has changed", () => {
    const changed = [0, 1, 2, 3].map((turn) => Object.keys(Conversation.stateAt(conversation, turn).changed).sort())
    expect(changed).toEqual([
      ["cast", "messages", "scene", "speaker", "turn"],
      ["messages", "turn"],
      ["cast", "messages", "speaker", "turn"],
      ["messages", "speaker", "turn"]
    ])
  })

  it("names for each channel the version of the turn that changed it last", () => {
    const seen: Record<string, number> = {}
    for (const turn of [0, 1, 2, 3]) {
      const { changed, values, versions } = Conversation.stateAt(conversation, turn)
      Object.assign(seen, changed)
      expect(versions).toEqual(seen)
      expect(Object.keys(values).sort()).toEqual(Object.keys(versions).sort())
    }
  })

  it("goes on from the beginning of a scene that is shorter", () => {
    const long = Conversation.make([scene], { threadId: "t", index: 1, steps: 6 })
    expect(long.speeches.map(({ text }) => text)).toEqual(["line 3", "line 0", "line 1", "line 2", "line 3", "line 0"])
  })
})

describe("A percentile", () => {
  it("is a sample by its nearest rank", () => {
    const samples = Array.from({ length: 200 }, (_, i) => 200 - i)
    expect(summary(samples)).toEqual({ count: 200, p50: 100, p95: 190, p99: 198, max: 200 })
    expect(summary([])).toEqual({ count: 0, p50: 0, p95: 0, p99: 0, max: 0 })
  })

  it("is the least sample that so many samples don't exceed", () => {
    const samples = FastCheck.array(FastCheck.double({ noNaN: true, min: 0 }), { minLength: 1 })
    FastCheck.assert(
      FastCheck.property(samples, FastCheck.integer({ min: 1, max: 100 }), (samples, percent) => {
        const sorted = Float64Array.from(samples).sort()
        const value = percentile(sorted, percent)
        const atMost = samples.filter((sample) => sample <= value).length
        const below = samples.filter((sample) => sample < value).length
        expect(samples).toContain(value)
        expect(atMost * 100).toBeGreaterThanOrEqual(percent * samples.length)
        expect(below * 100).toBeLessThan(percent * samples.length)
      })
    )
  })

  it("has a tally for what can't be ordered", () => {
    expect(tally(["a", "b", "a"])).toEqual({ a: 2, b: 1 })
  })
})

describe("The progress", () => {
  const shown = (live: boolean) =>
    Effect.gen(function* () {
      const written: Array<string> = []
      const progress = Progress.make({ write: (text) => written.push(text), live, columns: 80 })
      yield* progress.during(
        "a phase",
        { now: () => "under way", done: (n: number) => `${n} puts` },
        Effect.as(Effect.yieldNow(), 3)
      )
      return written.join("")
    })

  it.effect("is one plain line a phase where it can't live", () =>
    Effect.map(shown(false), (text) => expect(text).toMatch(/^a phase +3 puts\n$/))
  )

  it.effect("writes over its own line on a terminal", () =>
    Effect.map(shown(true), (text) => {
      expect(text).toContain("\r\u001b[2K")
      expect(text).toMatch(/a phase +3 puts\n$/)
    })
  )
})

it("No file of the witness is long", () => {
  const folder = new URL("../../examples/witness/", import.meta.url)
  for (const name of NodeFs.readdirSync(folder).filter((name) => name.endsWith(".ts"))) {
    expect(NodeFs.readFileSync(new URL(name, folder), "utf8").split("\n").length, name).toBeLessThan(250)
  }
})
