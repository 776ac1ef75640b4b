/**
 * What is looked at of a pool, whatever it lends.
 */
import type { Pool } from "@checkpool/pool/Pool"

/** @internal */
export interface Watched extends Pick<Pool<unknown>, "name" | "events" | "unsafeStats" | "use"> {}
