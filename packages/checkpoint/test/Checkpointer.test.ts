import { Checkpointer } from "@checkpool/checkpoint"
import { suite } from "./laws.ts"

suite("Checkpointer in memory", Checkpointer.layerMemory)
