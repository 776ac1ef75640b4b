/**
 * Whether a fiber is in a transaction of its caller.
 *
 * @internal
 */
import { TransactionConnection } from "@effect/sql/SqlClient"
import * as Context from "effect/Context"
import type * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"

/** @internal */
export const inTransaction = ({ currentContext }: Fiber.RuntimeFiber<unknown, unknown>): boolean =>
  Option.isSome(Context.getOption(currentContext as Context.Context<TransactionConnection>, TransactionConnection))
