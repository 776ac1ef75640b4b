/**
 * What one acquire and release of a resource that does nothing costs, beside other pools.
 *
 *     npx tsc -b packages/pool/benchmark && node packages/pool/benchmark/dist/main.js [--quick] [--out FOLDER]
 *
 * The variants take turns within a round; ratios are taken within a round. Shown are the medians over the rounds and the
 * middle half of them. `--out` writes the tables (results.md) and a picture (results.svg) into a folder.
 */
import { parseArgs } from "node:util"
import * as Picture from "@checkpool/benchmark/Picture"
import * as Results from "@checkpool/benchmark/Results"
import { sideBySide } from "@checkpool/benchmark/SideBySide"
import { figure, verdict } from "@checkpool/benchmark/Verdict"
import { Effect } from "effect"
import * as Contestants from "./contestants.ts"
import * as Table from "./table.ts"
import * as Waiters from "./waiters.ts"

const { values: options } = parseArgs({ options: { quick: { type: "boolean" }, out: { type: "string" } } })

const effort = { rounds: options.quick === true ? 5 : 15, warmUp: 3, better: "lower" } as const

const atLeast = (times: number): Table.Target => ({ sense: "at least", times })
const atMost = (times: number): Table.Target => ({ sense: "at most", times })

const settings: ReadonlyArray<{
  readonly users: number
  readonly times: number
  readonly targets: Readonly<Record<string, Table.Target>>
}> = [
  {
    users: 1,
    times: 20_000,
    targets: {
      "`use`, fully observed": atMost(1.3),
      "Effect v3 `Pool.get`, scoped": atLeast(11),
      "an empty `acquireUseRelease`": atLeast(1 / 0.7),
      "pg-pool, with a deadline": atLeast(1 / 0.75),
      "pg-pool, without": atLeast(1 / 0.75)
    }
  },
  {
    users: 64,
    times: 150,
    targets: { "`use`, fully observed": atMost(1.3), "Effect v3 `Pool.get`, scoped": atLeast(4) }
  },
  {
    users: 1_000,
    times: 6,
    targets: { "`use`, fully observed": atMost(1.3), "Effect v3 `Pool.get`, scoped": atLeast(3) }
  }
]

const colours = {
  "`use`, fully observed": "#0b6e99",
  "`get`, scoped": "#8fc1d6",
  "Effect v3 `Pool.get`, scoped": "#b08bbf",
  "an empty `acquireUseRelease`": "#d4c1dc",
  "pg-pool, with a deadline": "#7a7a7a",
  "pg-pool, without": "#9a9a9a",
  tarn: "#b5b5b5",
  "generic-pool": "#cfcfcf"
}

const waiting = [
  { name: "checkpool, 2,000 waiters", make: Waiters.ours, waiters: 2_000, target: 500 },
  { name: "checkpool, 8,000 waiters", make: Waiters.ours, waiters: 8_000, target: 2_000 },
  { name: "Effect v3 `Pool`, 500 waiters", make: Waiters.v3, waiters: 500, target: undefined }
]

const main = Effect.gen(function* () {
  const text: Array<string> = []
  const say = (block: string) => {
    console.log(`${block}\n`)
    text.push(block)
  }
  say(Results.machine())
  const contestants = yield* Contestants.make
  const names = contestants.map(({ name }) => name)
  const bars: Array<Picture.Bar> = []
  for (const { targets, times, users } of settings) {
    const title = `${users.toLocaleString("en")} ${users === 1 ? "user" : "users"}, ${Contestants.slots} slots`
    const variants = contestants.map(
      ({ measure }) =>
        () =>
          measure(users, times)
    )
    const rows = Table.rows(names, yield* Effect.promise(() => sideBySide(variants, effort)), targets)
    say(Table.markdown(title, rows))
    for (const { name, target, times } of rows) {
      if (times !== undefined) bars.push({ row: title, name, ...times, target: target?.times })
    }
  }
  const lines = ["| all who wait for one slot are served within | ms | target |", "| --- | --- | --- |"]
  for (const { make, name, target, waiters } of waiting) {
    const millis = yield* Effect.scoped(Effect.flatMap(make, (lender) => Waiters.drain(lender, waiters)))
    const goal = target === undefined ? "" : `at most ${target}: ${verdict(target / millis)}`
    lines.push(`| ${name} | ${figure(millis)} | ${goal} |`)
  }
  say(lines.join("\n"))
  const { out } = options
  if (out === undefined) return
  const picture = Picture.draw(bars, { colours, label: `times as long as \`use\` (${Results.machine()})` })
  yield* Effect.promise(() => Results.write(out, `${text.join("\n\n")}\n`, picture))
})

Effect.runPromise(Effect.scoped(main)).catch((error) => {
  console.error(error)
  process.exitCode = 1
})
