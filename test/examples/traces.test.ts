import { expect, it } from "@effect/vitest"
import { Effect } from "effect"
import { trace } from "../../examples/traces/conversation.ts"
import type { Branch } from "../../examples/traces/tree.ts"

/** The names alone, as nested arrays. */
const names = ({ children, name }: Branch): unknown => (children.length === 0 ? name : [name, ...children.map(names)])

const all = (branch: Branch): ReadonlyArray<Branch> => [branch, ...branch.children.flatMap(all)]

it("the spans that are exported form one tree, and show who waited for the connection", () =>
  Effect.gen(function* () {
    const roots = yield* trace
    const turn = [
      "turn",
      ["sql.transaction", "sql.execute"],
      ["Checkpointer.put", "sql.execute"],
      ["Checkpointer.get", "sql.execute"]
    ]
    expect(roots.map(names)).toEqual([["conversation", turn, turn]])
    const spans = roots.flatMap(all)
    for (const { attributes } of spans.filter(({ name }) => name === "sql.execute")) {
      expect(attributes).toMatchObject({ "db.system.name": "postgresql", "db.operation.name": expect.any(String) })
      expect(attributes).toHaveProperty(["db.query.text"])
    }
    // Both transactions sleep on the one connection, so one of them waited for at least as long.
    const waits = spans
      .filter(({ name }) => name === "sql.transaction")
      .flatMap(({ events }) => events.map(({ attributes }) => attributes?.["db.client.connection.wait_time"]))
      .filter((wait) => typeof wait === "number")
    expect(Math.max(...waits)).toBeGreaterThan(0.04)
  }).pipe(Effect.runPromise))
