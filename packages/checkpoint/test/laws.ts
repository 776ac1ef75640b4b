import type { Checkpointer } from "@checkpool/checkpoint"
import { describe, layer as sharedLayer } from "@effect/vitest"
import type { Layer } from "effect"
import { checkpoints } from "./laws/checkpoints.ts"
import { commits } from "./laws/commits.ts"
import { deletions } from "./laws/deletions.ts"
import { heads } from "./laws/heads.ts"
import { histories } from "./laws/histories.ts"
import { identifiers } from "./laws/identifiers.ts"
import { life } from "./laws/life.ts"
import { lists } from "./laws/lists.ts"
import { locks } from "./laws/locks.ts"
import { pendingWrites } from "./laws/pendingWrites.ts"
import { prunes } from "./laws/prunes.ts"
import { retention } from "./laws/retention.ts"
import { values } from "./laws/values.ts"

/**
 * The laws of `Checkpointer.Service`, for one implementation. Threads get fresh ids, so that the layer may be shared.
 */
export const suite = <E>(
  name: string,
  layer: Layer.Layer<Checkpointer.Checkpointer, E>,
  options: { readonly memoMap?: Layer.MemoMap } = {}
) =>
  describe(name, () => {
    sharedLayer(layer, { timeout: "60 seconds", ...options })((it) => {
      for (const laws of [
        checkpoints,
        pendingWrites,
        commits,
        lists,
        histories,
        values,
        identifiers,
        deletions,
        life,
        prunes,
        retention,
        heads,
        locks
      ])
        laws(it)
    })
  })
