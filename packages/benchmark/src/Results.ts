/**
 * Where results come from and where they go.
 */
import * as NodeFs from "node:fs/promises"
import * as NodeOs from "node:os"
import * as NodePath from "node:path"

export const machine = (): string => {
  const cpus = NodeOs.cpus()
  return `${cpus.length} × ${cpus[0]?.model}, Node ${process.versions.node}`
}

/** As `results.md` and `results.svg` in a folder. */
export const write = async (folder: string, text: string, picture: string): Promise<void> => {
  await NodeFs.mkdir(folder, { recursive: true })
  await NodeFs.writeFile(NodePath.join(folder, "results.md"), text)
  await NodeFs.writeFile(NodePath.join(folder, "results.svg"), picture)
}
