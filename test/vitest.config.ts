import { defineConfig } from "vitest/config"

// Sources, not builds: packages resolve each other through the condition "@checkpool/source" of their exports.
const conditions = ["@checkpool/source", "node"]

export default defineConfig({
  resolve: { conditions },
  ssr: { resolve: { conditions } },
  test: {
    root: new URL("..", import.meta.url).pathname,
    include: ["packages/*/test/**/*.test.ts", "test/**/*.test.ts"],
    testTimeout: 30_000,
    hookTimeout: 60_000,
    reporters: ["default"]
  }
})
