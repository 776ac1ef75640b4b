import { EmbeddedPostgres } from "@checkpool/embedded"

/** What an ordeal's server is started with: it does not wait for the disk, and logs what `sessions` reads. */
export const parameters = {
  fsync: "off",
  log_connections: "receipt,authorization",
  log_disconnections: "on",
  log_line_prefix: "%p ",
  max_prepared_transactions: "2"
}

/** One server for a file of tests. */
export const ServerLive = EmbeddedPostgres.layer({ parameters })
