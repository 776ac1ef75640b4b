/**
 * How a statement fails on a condition of ours: it tries to read a text as a number. The text is the mark to know it by.
 *
 * @internal
 */
import { someWithCode } from "./causes.ts"

/** Whether that is what a statement failed on. @internal */
export const failedOn = (error: unknown, mark: string): boolean =>
  someWithCode(error, (code, message) => code === "22P02" && message.includes(mark))
