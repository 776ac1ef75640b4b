import {
  type CheckpointSaverTestInitializer,
  deltaChannelHistoryTests,
  specTest
} from "@langchain/langgraph-checkpoint-validation"
import * as Vitest from "vitest"
import { CheckpoolSaver } from "../src/index.ts"
import { app, newSchema } from "./server.ts"

// LangGraph's own conformance suite, as published. It takes the test runner's functions from the global scope.
const { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } = Vitest
Object.assign(globalThis, { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it })

const initializer: CheckpointSaverTestInitializer<CheckpoolSaver> = {
  checkpointerName: "@checkpool/langgraph",
  createCheckpointer: () => CheckpoolSaver.fromRuntime(app, { schema: newSchema() }),
  destroyCheckpointer: (saver) => saver.end()
}

specTest(initializer)
deltaChannelHistoryTests(initializer)
