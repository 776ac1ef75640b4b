import LeftOutReporter from "../leftOutReporter.ts"
import config from "../vitest.config.ts"
import FaultReport from "./report.ts"

/** Every fault at its full size, one after the other so that times mean something, and the figures at the end. */
export default {
  ...config,
  test: {
    ...config.test,
    include: ["test/adversity/**/*.test.ts"],
    env: { ADVERSITY: "full" },
    fileParallelism: false,
    testTimeout: 600_000,
    reporters: ["default", new FaultReport(), new LeftOutReporter()]
  }
}
