import { relative } from "node:path"
import type { Reporter, TestCase, TestModule } from "vitest/node"

/**
 * Ends a run with what was left out and why (`ctx.skip("why")`), and a line of counts.
 *
 * A machine may lack what a test needs (a browser, an ordinary user); its owner is told. Where everything has to be
 * there (`CI` is set), a test that was left out fails the run.
 */
export default class LeftOutReporter implements Reporter {
  onTestRunEnd(modules: ReadonlyArray<TestModule>): void {
    const tests = modules.flatMap((module) => [...module.children.allTests()])
    const count = (state: string) => tests.filter((test) => test.result().state === state).length
    const leftOut = tests.filter((test) => test.result().state === "skipped")
    const failedModules = modules.filter((module) => module.state() === "failed").length
    if (leftOut.length > 0) {
      console.log(`\nLeft out (${leftOut.length}):`)
      for (const test of leftOut)
        console.log(`  ${relative(process.cwd(), test.module.moduleId)} > ${test.fullName}: ${why(test)}`)
      if (process.env.CI !== undefined) {
        console.log("Here every test has to run: a test that is left out fails the run.")
        process.exitCode = 1
      }
    }
    const failed = Math.max(count("failed"), failedModules)
    console.log(`\n${count("passed")} passed, ${failed} failed, ${leftOut.length} skipped`)
  }
}

const why = (test: TestCase): string => {
  const result = test.result()
  return (result.state === "skipped" && result.note) || "no reason given"
}
