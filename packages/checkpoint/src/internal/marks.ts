/**
 * How a statement fails on a condition of ours: it tries to read a text as a number. The text is the mark to know it by.
 *
 * @internal
 */
import * as ServerError from "./serverError.ts"

/** Whether that is what a statement failed on. @internal */
export const failedOn = (error: unknown, mark: string): boolean =>
  ServerError.is(error, (code, message) => code === "22P02" && message.includes(mark))
