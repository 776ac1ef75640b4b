/**
 * Prints what the ordeals have measured, as a table: one line for each fault.
 */
import type { Reporter, TestCase, TestModule } from "vitest/node"
import type { Figures } from "./figures.ts"

export default class FaultReport implements Reporter {
  onTestRunEnd(modules: ReadonlyArray<TestModule>): void {
    const tests = modules.flatMap((module) => [...module.children.allTests()])
    const passed = tests.filter((test) => test.result().state === "passed")
    const failed = tests.filter((test) => test.result().state === "failed")
    console.log(
      "\n| fault | callers' failures | works again after | connects tried | of them at once | at most on the server (allowed) | left over | |"
    )
    console.log("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for (const test of passed) for (const figures of test.meta().figures ?? []) console.log(row(figures))
    for (const test of failed) console.log(`| FAILED: ${test.fullName} | ${reasons(test)} |`)
  }
}

const row = ({ name, attempts, backAfter, left, max, mostBackends, mostConnecting, told }: Figures): string => {
  const { failures, ...others } = told
  const cells = [
    name,
    failures ?? "–",
    backAfter === undefined ? "–" : `${Math.round(backAfter)} ms`,
    attempts,
    mostConnecting,
    `${mostBackends} (${max})`,
    left,
    Object.entries(others)
      .map(([what, how]) => `${what}: ${how}`)
      .join(", ")
  ]
  return `| ${cells.join(" | ")} |`
}

const reasons = (test: TestCase): string => {
  const result = test.result()
  return (result.errors ?? []).map((error) => error.message.split("\n")[0]).join("; ")
}
