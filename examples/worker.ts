/**
 * Processes of an example's own, which may be killed in the middle of their work.
 */
import { spawn } from "node:child_process"
import { createInterface } from "node:readline"

/** Runs a program to its end, or until it says a line at which it is killed; gives the lines that it wrote. */
export const run = async (
  program: string,
  options: {
    readonly args?: ReadonlyArray<string>
    readonly env: Readonly<Record<string, string>>
    readonly killAt?: string | undefined
    /** When it is aborted, the program is killed. */
    readonly signal?: AbortSignal
  }
): Promise<ReadonlyArray<string>> => {
  const { args = [], env, killAt, signal } = options
  const child = spawn(process.execPath, [program, ...args], {
    env: { ...process.env, ...env },
    stdio: ["ignore", "pipe", "inherit"],
    killSignal: "SIGKILL",
    ...(signal === undefined ? {} : { signal })
  })
  const exited = new Promise<number | null>((resolve) => child.on("close", resolve).on("error", () => resolve(null)))
  const lines: Array<string> = []
  for await (const line of createInterface({ input: child.stdout })) {
    lines.push(line)
    if (line === killAt) child.kill("SIGKILL")
  }
  const code = await exited
  if (killAt === undefined && code !== 0) throw new Error(`the process ended with ${code}`)
  return lines
}
