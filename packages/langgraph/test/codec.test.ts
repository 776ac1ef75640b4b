import type { Codec } from "@checkpool/checkpoint"
import { describe, expect, it } from "@effect/vitest"
import { Document } from "@langchain/core/documents"
import { Serializable } from "@langchain/core/load/serializable"
import {
  AIMessage,
  AIMessageChunk,
  type BaseMessage,
  HumanMessage,
  SystemMessage,
  ToolMessage
} from "@langchain/core/messages"
import { PromptTemplate } from "@langchain/core/prompts"
import { Command, Overwrite, Send } from "@langchain/langgraph"
import { DeltaSnapshot, JsonPlusSerializer, type SerializerProtocol } from "@langchain/langgraph-checkpoint"
import { Effect, FastCheck } from "effect"
import { LangGraphCodec } from "../src/index.ts"

const { langGraph } = LangGraphCodec
const stock = new JsonPlusSerializer()
const at: Codec.Location = { part: "channel", channel: "state" }

const encode = (value: unknown, codec = langGraph) => Effect.runPromise(codec.encode(value, at))
const decode = (encoded: Codec.Encoded, codec = langGraph) => Effect.runPromise(codec.decode(encoded, at))
const roundTrip = async (value: unknown) => decode(await encode(value))
const refusal = (value: unknown) => Effect.runPromise(Effect.flip(langGraph.encode(value, at)))

const textOf = ({ data }: Codec.Encoded) => new TextDecoder().decode(data)

const toolCall = { name: "weather", args: { city: "Bern", days: 3 }, id: "call-1", type: "tool_call" as const }

const messages: ReadonlyArray<BaseMessage> = [
  new SystemMessage("be brief"),
  new HumanMessage({ content: "hello", id: "message-1", name: "ada", additional_kwargs: { urgent: true } }),
  new HumanMessage({
    content: [
      { type: "text", text: "look at " },
      { type: "image_url", image_url: "data:," }
    ]
  }),
  new AIMessage({
    content: "",
    tool_calls: [toolCall],
    response_metadata: { finish_reason: "tool_calls", logprobs: null }
  }),
  new AIMessageChunk({ content: "so", tool_call_chunks: [{ name: "w", args: "{", index: 0 }] }),
  new ToolMessage({ content: "12 °C", tool_call_id: "call-1", artifact: { raw: [1, 2.5] } })
]

describe("the codec of a LangGraph state", () => {
  it.each(messages.map((message) => [message.getType(), message] as const))(
    "keeps a message (%s) as the stock serializer does",
    async (_, message) => {
      const encoded = await encode({ messages: [message] })
      expect(textOf(encoded)).toBe(textOf(await stockEncode({ messages: [message] })))
      const read = await decode(encoded)
      expect(read).toStrictEqual(await stockDecode(encoded))
      expect((read as { messages: [BaseMessage] }).messages[0]).toBeInstanceOf(message.constructor)
      expect((read as { messages: [BaseMessage] }).messages[0].toJSON()).toEqual(message.toJSON())
    }
  )

  it.each([
    ["a date", new Date("2026-01-02T03:04:05.678Z")],
    ["a date before our era", new Date(-1e14)],
    ["a BigInt", -(2n ** 70n)],
    ["NaN", Number.NaN],
    ["minus zero", -0],
    ["infinity", Number.NEGATIVE_INFINITY],
    ["undefined", undefined],
    ["a URL", new URL("https://example.org/a?b=c#d")],
    [
      "a map",
      new Map<unknown, unknown>([
        ["a", new Date(0)],
        [1n, new Map([["b", undefined]])]
      ])
    ],
    ["a set", new Set([1n, "a", new Date(1)])],
    ["a regular expression", /a+/gi],
    ["bytes", Uint8Array.of(0, 127, 255)],
    ["an error", Object.assign(new TypeError("no", { cause: new Error("why") }), { code: "E_NO", at: new Date(2) })],
    ["the snapshot of a delta channel", new DeltaSnapshot([new Date(3), new HumanMessage("hi")])],
    ["a document", new Document({ pageContent: "text", metadata: { page: 1, read: new Date(4) }, id: "d" })]
  ])("keeps %s, alone, within others, and within a message", async (_, value) => {
    expect(await roundTrip(value)).toStrictEqual(value)
    expect(await roundTrip({ a: [value, { b: value }] })).toStrictEqual({ a: [value, { b: value }] })
    const message = new ToolMessage({ content: "", tool_call_id: "1", artifact: { list: [value], a: [{ b: value }] } })
    const read = (await roundTrip([message])) as [ToolMessage]
    expect(read[0]).toBeInstanceOf(ToolMessage)
    expect(read[0].artifact).toStrictEqual(message.artifact)
    // What was put is not written to.
    expect(message.artifact.list[0]).toBe(value)
  })

  it("keeps the stack of an error, its cause and what was set on it", async () => {
    const cause = new Error("why")
    const error = Object.assign(new RangeError("no", { cause }), { code: "E_NO" })
    const read = (await roundTrip(error)) as RangeError & { code: string }
    expect(read).toBeInstanceOf(RangeError)
    expect([read.stack, read.code, read.message]).toEqual([error.stack, "E_NO", "no"])
    expect((read.cause as Error).stack).toBe(cause.stack)
    expect(Object.keys(read)).toEqual(["code"])
  })

  it("keeps messages within messages, maps and each other's arguments", async () => {
    const inner = new HumanMessage({ content: "in", additional_kwargs: { seen: new Date(5) } })
    const outer = new AIMessage({ content: "out", additional_kwargs: { inner, map: new Map([["m", inner]]) } })
    const read = (await roundTrip(new Map([["a", new Set([outer])]]))) as Map<string, Set<AIMessage>>
    const [message] = read.get("a")!
    const { inner: first, map } = message!.additional_kwargs as { inner: HumanMessage; map: Map<string, HumanMessage> }
    for (const each of [first, map.get("m")!]) {
      expect(each).toBeInstanceOf(HumanMessage)
      expect(each.additional_kwargs).toStrictEqual({ seen: new Date(5) })
    }
  })

  it("reads a message that is nested more deeply than LangChain's own limit", async () => {
    let deep: unknown = "bottom"
    for (let i = 0; i < 100; i++) deep = [deep]
    const message = new ToolMessage({ content: "", tool_call_id: "1", artifact: deep })
    expect(((await roundTrip(message)) as ToolMessage).artifact).toEqual(deep)
    await expect(stock.loadsTyped(...(await stock.dumpsTyped(message)))).rejects.toThrow("recursion depth")
  })

  it.each([
    [{ lc: 1, type: "constructor", id: ["langchain_core", "messages", "HumanMessage"], kwargs: {} }],
    [{ lc: 2, type: "constructor", id: ["Date"], method: null, args: ["2026-01-02T03:04:05.678Z"], kwargs: {} }],
    [{ lc: 7, of: [{ lc: 1, type: "constructor", id: ["evil", "Thing"], kwargs: {} }] }],
    [{ __lc_escaped__: { lc: 1, type: "secret", id: ["checkpool 0"] } }]
  ])("keeps data in a message that looks like a record as data: %j", async (lookalike) => {
    const message = new AIMessage({ content: "", additional_kwargs: { lookalike, first: new Date(0) } })
    const read = (await roundTrip(message)) as AIMessage
    expect(read.additional_kwargs.lookalike).toStrictEqual(lookalike)
  })

  it("writes Send, Command and Overwrite as the stock serializer does", async () => {
    for (const value of [
      new Send("node", { a: [new HumanMessage("hi")] }),
      new Send("node", { a: 1 }, { timeout: 100 }),
      new Command({ resume: "yes", update: { a: 1 }, goto: "node" }),
      new Overwrite([1, 2])
    ]) {
      const encoded = await encode([value])
      expect(await decode(encoded)).toEqual(await stockDecode(await stockEncode([value])))
    }
  })

  it.each([
    [
      "an instance of a class of one's own",
      new (class Plan {})(),
      "an instance of Plan would come back without its class"
    ],
    ["a function", () => 1, "a function can't be stored"],
    ["an error of one's own class", new (class Mine extends Error {})(), "an Error can't be stored with its class"],
    ["a date that is none", new Date(Number.NaN), "a Date has no JSON form"],
    [
      "an object that LangChain gives no form for",
      new (class Model extends Serializable {
        lc_namespace = ["app"]
      })({}),
      "no serialized form for an instance of Model"
    ]
  ])("refuses %s with the path to it", async (_, value, reason) => {
    const error = await refusal({ list: [1, { value }] })
    expect(error).toMatchObject({ _tag: "SerializationError", channel: "state", path: ["list", 1, "value"] })
    expect(error.reason).toContain(reason)
    const within = await refusal(new ToolMessage({ content: "", tool_call_id: "1", artifact: [value] }))
    expect(within.path).toEqual(["kwargs", "artifact", 0])
  })

  it("refuses an object in the saver's own notation", async () => {
    const value = { lc: 2, type: "constructor", id: ["Date"], args: ["2026"] }
    expect(await refusal([value])).toMatchObject({ path: [0], reason: expect.stringContaining("own notation") })
  })

  it("refuses a key in a message that LangChain would drop", async () => {
    const message = new ToolMessage({ content: "", tool_call_id: "1", artifact: { a: JSON.parse('{"__proto__":1}') } })
    expect(await refusal([message])).toMatchObject({ path: [0, "kwargs", "artifact", "a"] })
    expect(((await stockDecode(await stockEncode([message]))) as [ToolMessage])[0].artifact).toEqual({ a: {} })
  })

  it("refuses a cycle", async () => {
    const cycle: Record<string, unknown> = { when: new Date() }
    cycle.self = [cycle]
    const error = await refusal({ cycle })
    expect(error).toMatchObject({ path: ["cycle", "self", 0], reason: expect.stringContaining("contains itself") })
  })

  it("refuses what LangChain could not load again, before it makes a thread unreadable", async () => {
    class Secretive extends HumanMessage {}
    const error = await refusal({ messages: [new HumanMessage("a"), new Secretive("b")] })
    expect(error).toMatchObject({ _tag: "SerializationError", operation: "encode", path: ["messages", 1] })
    expect(error.reason).toContain("LangChain could not load")
    const data = { lc: 1, type: "constructor", id: ["evil", "Thing"], kwargs: {} }
    expect((await refusal({ data })).path).toEqual(["data"])
    // The stock saver writes it, and can't read the thread any more.
    await expect(stock.loadsTyped(...(await stock.dumpsTyped({ data })))).rejects.toThrow("Invalid namespace")
  })

  it("takes LangChain's own serialized form for the object, as graphs do with their input", async () => {
    const form = JSON.parse(JSON.stringify(new HumanMessage("hi")))
    expect((await roundTrip([form])) as Array<unknown>).toStrictEqual(await stockDecode(await stockEncode([form])))
  })

  it("keeps other objects of LangChain", async () => {
    const prompt = PromptTemplate.fromTemplate("Hello {name}")
    const read = (await roundTrip({ prompt })) as { prompt: PromptTemplate }
    expect(await read.prompt.format({ name: "Ada" })).toBe("Hello Ada")
  })

  it.effect.prop("gives back any state as it was", { state: state() }, ({ state }) =>
    Effect.promise(async () => {
      expect(await roundTrip(state)).toStrictEqual(state)
    })
  )

  it.effect.prop("writes what the stock serializer reads alike", { state: stockState() }, ({ state }) =>
    Effect.promise(async () => {
      const encoded = await encode(state)
      expect(await stockDecode(encoded)).toStrictEqual(await decode(encoded))
    })
  )

  it.effect.prop("reads what the stock serializer wrote as that does", { state: stockState() }, ({ state }) =>
    Effect.promise(async () => {
      const encoded = await stockEncode(state)
      expect(await decode(encoded)).toStrictEqual(await stockDecode(encoded))
    })
  )
})

describe("a serializer in the place of the codec", () => {
  const scrambling: SerializerProtocol = {
    dumpsTyped: async (value) => {
      const [type, data] = await stock.dumpsTyped(value)
      return [`scrambled ${type}`, data.map((byte) => byte ^ 0x55)]
    },
    loadsTyped: async (type, data) =>
      stock.loadsTyped(
        type.replace("scrambled ", ""),
        (data as Uint8Array).map((byte) => byte ^ 0x55)
      )
  }

  it("writes and reads values", async () => {
    const codec = LangGraphCodec.fromSerializer(scrambling)
    const value = { messages: [new HumanMessage("hi")] }
    const encoded = await encode(value, codec)
    expect(encoded.type).toBe("scrambled json")
    expect(textOf(encoded)).not.toContain("hi")
    expect(await decode(encoded, codec)).toStrictEqual(value)
  })

  it("is not asked for what lies in JSONB columns if it doesn't write JSON", async () => {
    const codec = LangGraphCodec.fromSerializer(scrambling)
    const metadata: Codec.Location = { part: "metadata", channel: "" }
    const encoded = await Effect.runPromise(codec.encode({ source: "loop" }, metadata))
    expect([encoded.type, textOf(encoded)]).toEqual(["json", '{"source":"loop"}'])
    expect(await Effect.runPromise(codec.decode(encoded, metadata))).toEqual({ source: "loop" })
  })

  it("has the last word if it writes JSON, also where it loses something", async () => {
    const codec = LangGraphCodec.fromSerializer(stock)
    const encoded = await Effect.runPromise(codec.encode({ when: new Date(0) }, { part: "metadata", channel: "" }))
    expect(textOf(encoded)).toBe('{"when":"1970-01-01T00:00:00.000Z"}')
  })

  it("fails typed, with the channel, when it throws or rejects", async () => {
    const broken = LangGraphCodec.fromSerializer({
      dumpsTyped: () => {
        throw new Error("no key")
      },
      loadsTyped: () => Promise.reject(new Error("wrong key"))
    })
    const failures = [broken.encode(1, at), broken.decode({ type: "json", data: new Uint8Array() }, at)]
    const errors = await Promise.all(failures.map((failure) => Effect.runPromise(Effect.flip(failure))))
    expect(errors.map(({ channel, operation, reason }) => [channel, operation, reason])).toEqual([
      ["state", "encode", "no key"],
      ["state", "decode", "wrong key"]
    ])
  })

  it("is what a saver's own codec looks like from outside", async () => {
    const serde = LangGraphCodec.toSerializer(langGraph)
    const [type, data] = await serde.dumpsTyped({ when: new Date(0) })
    expect(await serde.loadsTyped(type, data)).toStrictEqual({ when: new Date(0) })
    expect(await serde.loadsTyped(type, new TextDecoder().decode(data))).toStrictEqual({ when: new Date(0) })
  })
})

async function stockEncode(value: unknown): Promise<Codec.Encoded> {
  const [type, data] = await stock.dumpsTyped(value)
  return { type, data }
}

function stockDecode({ data, type }: Codec.Encoded): Promise<unknown> {
  return stock.loadsTyped(type, data)
}

/** Values that both serializers keep. */
function stockState(): FastCheck.Arbitrary<unknown> {
  const text = FastCheck.string()
  const key = FastCheck.constantFrom("a", "b", "content", "lc_", "type", "id")
  const message = FastCheck.oneof(
    FastCheck.record({ content: text, name: text, additional_kwargs: FastCheck.dictionary(key, text) }).map(
      (fields) => new HumanMessage(fields)
    ),
    text.map((content) => new AIMessage({ content, tool_calls: [toolCall] })),
    text.map((content) => new ToolMessage({ content, tool_call_id: "1" }))
  )
  return FastCheck.letrec((tie) => ({
    state: FastCheck.oneof({ depthSize: "small" }, tie("leaf"), tie("list"), tie("record"), tie("map"), tie("set")),
    leaf: FastCheck.oneof(text, FastCheck.integer(), FastCheck.boolean(), FastCheck.constant(null), message),
    list: FastCheck.array(tie("state"), { maxLength: 4 }),
    record: FastCheck.dictionary(key, tie("state"), { maxKeys: 4, noNullPrototype: true }),
    map: FastCheck.array(FastCheck.tuple(text, tie("state")), { maxLength: 3 }).map((entries) => new Map(entries)),
    set: FastCheck.uniqueArray(text, { maxLength: 3 }).map((members) => new Set(members))
  })).state
}

/** Values that ours keeps; with messages if the keys are of no meaning to LangChain. */
function state(): FastCheck.Arbitrary<unknown> {
  const strange = FastCheck.constantFrom("a", "lc", "type", "id", "value", "__proto__", "__lc_escaped__")
  return FastCheck.oneof(stateWith(strange, false), stateWith(FastCheck.constantFrom("a", "type", "id", "value"), true))
}

function stateWith(key: FastCheck.Arbitrary<string>, messages: boolean): FastCheck.Arbitrary<unknown> {
  return FastCheck.letrec((tie) => ({
    state: FastCheck.oneof({ depthSize: "small" }, tie("leaf"), tie("list"), tie("record"), tie("map"), tie("message")),
    leaf: FastCheck.oneof(
      FastCheck.string({ unit: "binary" }),
      FastCheck.double(),
      FastCheck.bigInt(),
      FastCheck.date({ noInvalidDate: true }),
      FastCheck.constantFrom(null, undefined, true, new URL("http://a"), new DeltaSnapshot(1n))
    ),
    list: FastCheck.array(tie("state"), { maxLength: 4 }),
    record: FastCheck.dictionary(key, tie("state"), { maxKeys: 4, noNullPrototype: true }),
    map: FastCheck.array(FastCheck.tuple(tie("leaf"), tie("state")), { maxLength: 3 }).map((e) => new Map(e)),
    message: messages
      ? FastCheck.array(tie("state"), { maxLength: 3 }).map(
          (artifact) => new ToolMessage({ content: "", tool_call_id: "1", artifact })
        )
      : tie("leaf")
  })).state
}
