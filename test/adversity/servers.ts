import { EmbeddedPostgres } from "@checkpool/embedded"

/** One server for a file of tests, without waiting for the disk. */
export const ServerLive = EmbeddedPostgres.layer({ parameters: { fsync: "off" } })
