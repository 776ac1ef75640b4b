import { fileURLToPath } from "node:url"
import { defineConfig } from "vitest/config"
import { snippets } from "./documentation/plugin.ts"
import LeftOutReporter from "./leftOutReporter.ts"

// Sources, not builds: packages resolve each other through the condition "@checkpool/source" of their exports.
const conditions = ["@checkpool/source", "node"]

export default defineConfig({
  plugins: [snippets],
  resolve: { conditions },
  ssr: { resolve: { conditions } },
  test: {
    root: fileURLToPath(new URL("..", import.meta.url)),
    include: ["packages/*/test/**/*.test.ts", "test/**/*.test.ts"],
    // Servers start and stop in many of them, on machines that are seldom idle.
    testTimeout: 60_000,
    hookTimeout: 120_000,
    reporters: ["default", new LeftOutReporter()]
  }
})
