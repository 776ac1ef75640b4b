/**
 * What a listener hears.
 *
 * @since 0.1.0
 */
import * as Data from "effect/Data"

/**
 * - `Notified`: somebody notified the channel; an empty payload is the empty string
 * - `MayHaveMissed`: the connection that listened broke, and another one listens now. What was notified in between is
 *   lost: look at what the notifications are about
 *
 * @category models
 * @since 0.1.0
 */
export type PgNotification = Data.TaggedEnum<{
  Notified: { readonly channel: string; readonly payload: string; readonly processId: number }
  MayHaveMissed: { readonly channel: string; readonly cause: unknown }
}>

/**
 * Constructors and matchers.
 *
 * @category constructors
 * @since 0.1.0
 */
export const PgNotification = Data.taggedEnum<PgNotification>()
