/**
 * Whose timers are still on: `process.getActiveResourcesInfo` counts those of the test runner too, which come and go.
 */

/** Node's timers say so themselves, though not in their types. */
interface Timer {
  readonly _destroyed: boolean
}

/** Notes each timer that is set, until told to stop; gives the lengths (ms) of those that are still on. */
export const noteTimers = () => {
  const real = globalThis.setTimeout
  let noted: Array<{ readonly timer: Timer; readonly millis: number }> = []
  const on = () => noted.filter(({ timer }) => !timer._destroyed)
  const noting = Object.assign((...args: Parameters<typeof real>) => {
    const timer = real(...args)
    if (noted.length > 10_000) noted = on()
    noted.push({ timer: timer as unknown as Timer, millis: args[1] ?? 0 })
    return timer
  }, real)
  globalThis.setTimeout = noting
  return {
    stop: () => {
      globalThis.setTimeout = real
    },
    left: () => on().map(({ millis }) => millis)
  }
}
