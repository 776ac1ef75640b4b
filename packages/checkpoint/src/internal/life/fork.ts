/** @internal */
import * as Json from "../json.ts"
import * as Jsonb from "../jsonb.ts"
import type { CheckpointRow } from "../rows.ts"

/**
 * The row of a fork: it names the same values as its source. `said` is the text of what goes over the source's metadata.
 *
 * @internal
 */
export const make = (source: CheckpointRow, id: string, ts: string, said: string): CheckpointRow => {
  const { v } = JSON.parse(source.checkpoint) as { readonly v?: unknown }
  return {
    ...source,
    checkpointId: id,
    // Before version 4 what was sent to the tasks of a checkpoint lies with its parent, so a fork needs the same parent.
    parentId: typeof v === "number" && v < 4 ? source.parentId : source.checkpointId,
    checkpoint: over(source.checkpoint, { id, ts }),
    metadata: over(source.metadata, { source: "fork", ...JSON.parse(said) })
  }
}

const over = (stored: string, fields: object): string =>
  Jsonb.encode(Json.print({ ...JSON.parse(Jsonb.decode(stored)), ...fields }))
