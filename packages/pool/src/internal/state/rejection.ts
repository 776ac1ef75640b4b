/**
 * Why the state turned a caller away: plain data, made an error by the interpreter, so that the state needs neither
 * names nor messages.
 */
import type { Trouble } from "./outage.ts"

/** @internal */
export type Rejection =
  | { readonly _tag: "Timeout"; readonly waited: number }
  | { readonly _tag: "Saturated"; readonly oldestWait: number; readonly retryAfter: number }
  | { readonly _tag: "Closed" }
  | { readonly _tag: "Unavailable"; readonly trouble: Trouble }
  | { readonly _tag: "Nested"; readonly held: number }
