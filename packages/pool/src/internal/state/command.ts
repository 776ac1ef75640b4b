/**
 * What the state asks the interpreter to do. Commands are carried out in order, after the transition that gave them.
 */
import type { PoolEvent } from "../../PoolEvent.ts"
import type { Slot } from "./slot.ts"
import type { Waiter } from "./waiters.ts"

/** @internal */
export type Command<A> =
  /** Open a resource for this slot; report `opened` or `openFailed`. */
  | { readonly _tag: "Connect"; readonly slot: Slot<A> }
  /** Give up on opening one; report `openFailed` when nothing is left of it. */
  | { readonly _tag: "Abandon"; readonly slot: Slot<A> }
  /** Report `checked`. */
  | { readonly _tag: "Check"; readonly slot: Slot<A> }
  /** Close it, whatever runs on it; report `closed`. */
  | { readonly _tag: "Close"; readonly slot: Slot<A> }
  /** The waiter has its answer. */
  | { readonly _tag: "Wake"; readonly waiter: Waiter<A> }
  | { readonly _tag: "Leak"; readonly slot: Slot<A>; readonly held: number }
  | { readonly _tag: "Event"; readonly event: PoolEvent }
  /** Nothing is left: whoever drains may go on. */
  | { readonly _tag: "Drained" }
