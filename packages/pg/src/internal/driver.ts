/**
 * The one place that reaches into `pg` beyond its documented API: connecting interruptibly, knowing when a session is
 * quiet, cutting a socket, cancelling on a socket of its own, cursors without a time limit, and prepared statements: to
 * close them, and to run them with less ado.
 */
import * as Effect from "effect/Effect"
import * as Pg from "pg"
import Cursor from "pg-cursor"
import * as ExtendedQuery from "./extendedQuery.ts"
import * as SendBuffers from "./sendBuffers.ts"

/** `pg`'s protocol connection, as far as it is used here. */
interface Wire {
  readonly stream: {
    readonly destroyed: boolean
    readonly writable: boolean
    destroy(error?: Error): void
    cork(): void
    uncork(): void
    write(bytes: Uint8Array): void
  }
  readonly parsedStatements: Record<string, string>
  end(): void
  connect(port: number, host: string): void
  requestSsl(): void
  cancel(processId: number, secretKey: number): void
  close(what: { readonly type: "S"; readonly name: string }): void
  parse(what: { readonly text: string }): void
  bind(what: object): void
  execute(what: object): void
  on(event: string, listener: (error: Error) => void): void
  once(event: "readyForQuery" | "end", listener: () => void): void
  off(event: "readyForQuery" | "end", listener: () => void): void
}

interface Innards {
  readonly connection: Wire
  readonly processID: number | null
  readonly secretKey: number | null
  readonly host: string
  readonly port: number
  readonly ssl: boolean | object
  readonly sslNegotiation: string
  readonly readyForQuery: boolean | undefined
  _getActiveQuery(): unknown
}

const innards = (client: Pg.Client): Innards => client as unknown as Innards

/** Connects; an interrupt cuts the socket. @internal */
export const connect = (client: Pg.Client): Effect.Effect<void, Error> =>
  Effect.async<void, Error>((resume) => {
    client.connect((error: Error | null) => resume(error ? Effect.fail(error) : Effect.void))
    return Effect.sync(() => cut(client))
  })

/**
 * Says good-bye and waits until the server has closed its side; an interrupt cuts it. (`pg`'s own `end` cuts a session
 * that is busy, which the server then may not notice for long.)
 */
export const end = (client: Pg.Client): Effect.Effect<void> =>
  Effect.async<void>((resume) => {
    if (!isOpen(client)) {
      resume(Effect.void)
      return
    }
    const { connection } = innards(client)
    connection.once("end", () => resume(Effect.void))
    if (isBusy(client)) connection.end()
    else client.end(() => {})
    return Effect.sync(() => cut(client))
  })

/** @internal */
export const isOpen = (client: Pg.Client): boolean => !innards(client).connection.stream.destroyed

/** Whether a query of whatever kind is under way. @internal */
export const isBusy = (client: Pg.Client): boolean => Boolean(innards(client)._getActiveQuery())

/**
 * Whether the server awaits a query. Right after an error it is not busy any more, but not yet ready either.
 *
 * @internal
 */
export const isReady = (client: Pg.Client): boolean => innards(client).readyForQuery === true

/** `pg-cursor`, as far as it is used here. */
interface Submitted {
  submit(connection: Wire): void
  handleDataRow(message: unknown): void
  handleCommandComplete(message: unknown): void
}

const Base = Cursor as unknown as new (text: string, values: ReadonlyArray<unknown>) => Submitted

/**
 * A cursor that the server sets no time limit. It would count from the first piece to the last, whoever takes so long to
 * consume them. Said ahead of the cursor's own messages, and for its transaction only, this takes no round trip.
 */
class UnlimitedCursor extends Base {
  private opening = true

  override submit(connection: Wire): void {
    connection.stream.cork()
    connection.parse({ text: "SELECT set_config('statement_timeout', '0', true)" })
    connection.bind({})
    connection.execute({})
    super.submit(connection)
    connection.stream.uncork()
  }

  override handleDataRow(message: unknown): void {
    if (!this.opening) super.handleDataRow(message)
  }

  override handleCommandComplete(message: unknown): void {
    if (this.opening) this.opening = false
    else super.handleCommandComplete(message)
  }
}

/** @internal */
export const openCursor = (
  client: Pg.Client,
  text: string,
  values: ReadonlyArray<unknown>,
  limitedByServer: boolean
): Cursor => client.query(new (limitedByServer ? UnlimitedCursor : Base)(text, values) as unknown as Cursor)

/**
 * Closes a cursor whose query is still under way, and calls back once the session is quiet. One that the server has
 * ended with an error must not be closed again; whether it has, only its inner state says.
 */
export const closeCursor = (client: Pg.Client, cursor: Cursor, done: () => void): void => {
  whenQuiet(client, done)
  if ((cursor as unknown as { readonly state: string }).state !== "error") cursor.close(() => {})
}

/** @internal */
export const cut = (client: Pg.Client): void => innards(client).connection.stream.destroy()

/** @internal */
export const processId = (client: Pg.Client): number => innards(client).processID ?? 0

/** @internal */
export interface Statement {
  readonly text: string
  readonly values?: ReadonlyArray<unknown> | undefined
  readonly rowMode?: "array" | undefined
}

/** `pg`'s own query, as far as it is used here. */
interface Query {
  readonly text: string
  readonly name: string | undefined
  readonly values: ReadonlyArray<unknown> | undefined
  _rowMode: Statement["rowMode"]
  _result: Result
  _results: Result
  _accumulateRows: unknown
  submit(connection: Wire): Error | null
  handleRowDescription(message: Described): void
  handleCommandComplete(message: unknown, connection: Wire): void
  handleReadyForQuery(connection: Wire): void
}

/** `pg`'s own result, as far as it is used here. */
interface Result {
  fields: ReadonlyArray<Field>
  readonly _types: typeof Pg.types | undefined
  _parsers: ReadonlyArray<(text: string) => unknown>
  /** What a row is copied from, without its values. */
  _prebuiltEmptyResultObject: object | null
}

const Result = (Pg as unknown as { readonly Result: new (rowMode: Statement["rowMode"]) => Result }).Result

interface Field {
  readonly dataTypeID: number
  readonly format: "text" | "binary"
}

/** The columns of a result. */
interface Described {
  readonly fields: ReadonlyArray<Field>
}

/** What it takes to read the rows of a result. */
interface Columns extends Described {
  readonly empty: object | null
}

/**
 * Runs what is prepared already in one write, and has the server describe its columns only once: while it is prepared they
 * stay the same, the server refuses to run it with others (0A000).
 */
class PreparedQuery extends (Pg.Query as unknown as new (
  text: string,
  values: ReadonlyArray<unknown> | undefined,
  done: unknown
) => Query) {
  private described: Described = { fields: [] }
  private sent: Buffer | undefined

  /**
   * Of a configuration `pg` would make a copy, property by property with its descriptor, which costs more than all the rest of
   * sending.
   */
  constructor({ rowMode, text, values }: Statement, done: unknown) {
    super(text, values, done)
    if (rowMode !== undefined) {
      this._rowMode = rowMode
      this._result = this._results = new Result(rowMode)
    }
  }

  override submit(connection: Wire): Error | null {
    const { name, values } = this
    if (name === undefined || connection.parsedStatements[name] !== this.text) return super.submit(connection)
    const known = descriptions.get(connection)?.get(name)
    const message = ExtendedQuery.run(name, values ?? [], known === undefined)
    if (message === undefined) return super.submit(connection)
    if (known !== undefined && known.fields.length > 0) this.recall(known)
    if (connection.stream.writable) {
      this.sent = message
      connection.stream.write(message)
    }
    return null
  }

  /** As if they had been described again, in a fraction of the time. How types are parsed may have changed since. */
  private recall(columns: Columns): void {
    const { empty, fields } = columns
    this.described = columns
    const result = this._result
    const types = result._types ?? Pg.types
    // Each result has a list of its own, here and where it is noted: it is the caller's.
    result.fields = [...fields]
    result._parsers = fields.map(({ dataTypeID, format }) => types.getTypeParser(dataTypeID, format))
    result._prebuiltEmptyResultObject = empty
    this._accumulateRows = true
  }

  override handleRowDescription(message: Described): void {
    this.described = message
    super.handleRowDescription(message)
  }

  override handleCommandComplete(message: unknown, connection: Wire): void {
    if (this.name !== undefined) {
      const known = descriptions.get(connection)
      if (known?.has(this.name) !== true) {
        const columns = { fields: [...this.described.fields], empty: this._result._prebuiltEmptyResultObject }
        if (known === undefined) descriptions.set(connection, new Map([[this.name, columns]]))
        else known.set(this.name, columns)
      }
    }
    super.handleCommandComplete(message, connection)
  }

  override handleReadyForQuery(connection: Wire): void {
    // The server has read it to its end, with which it asks for this.
    if (this.sent !== undefined) SendBuffers.giveBack(this.sent)
    super.handleReadyForQuery(connection)
  }
}

/** Of what is prepared on each connection, by name. */
const descriptions = new WeakMap<Wire, Map<string, Columns>>()

/**
 * Sends a statement; with a name it is prepared under it first, if it is not yet. After the timeout (ms) the driver gives
 * it up, which ends nothing on the server.
 *
 * @internal
 */
export const query = (
  client: Pg.Client,
  statement: Statement,
  { name, timeout }: { readonly name?: string | undefined; readonly timeout?: number | undefined },
  done: (error: Error | null | undefined, result: Pg.QueryResult) => void
): void => {
  const query = new PreparedQuery(statement, done)
  client.query(Object.assign(query, { name, query_timeout: timeout }) as unknown as Pg.Submittable)
}

/** Calls back once the server is ready for the next query, or the connection has ended. @internal */
export const whenQuiet = (client: Pg.Client, done: () => void): void => {
  const { connection } = innards(client)
  const once = () => {
    connection.off("readyForQuery", once)
    connection.off("end", once)
    done()
  }
  connection.once("readyForQuery", once)
  connection.once("end", once)
}

/** The driver's own error when a query got no answer within `query_timeout`. @internal */
export const isQueryTimeout = (error: Error): boolean => error.message === "Query read timeout"

const systemErrors = /^E(CONN|PIPE|TIMEDOUT|HOSTUNREACH|NETUNREACH|NETDOWN|NOTFOUND|AI_AGAIN|ADDR)/
const driverErrors = /^(Connection terminated|Client was closed|Client has encountered a connection error)/

/** The system's or the driver's own error when there is no connection (any more). @internal */
export const isConnectionError = (error: Error): boolean =>
  ("code" in error && typeof error.code === "string" && systemErrors.test(error.code)) ||
  driverErrors.test(error.message) ||
  isQueryTimeout(error)

/** Closes prepared statements along with the next query: no round trip of its own. @internal */
export const closeStatements = (client: Pg.Client, names: ReadonlyArray<string>): void => {
  const { connection } = innards(client)
  for (const name of names) {
    delete connection.parsedStatements[name]
    descriptions.get(connection)?.delete(name)
    connection.close({ type: "S", name })
  }
}

/** Forgets what was prepared, when the server has. @internal */
export const forgetStatements = (client: Pg.Client): void => {
  const { connection } = innards(client)
  for (const name of Object.keys(connection.parsedStatements)) delete connection.parsedStatements[name]
  descriptions.delete(connection)
}

/**
 * Asks the server to cancel what the session runs, on a socket of its own with TLS where the session has it, and waits
 * until the server has closed that socket: from then on the cancel is on its way or done. (`pg`'s own `cancel` skips
 * TLS.) Never fails: a cancel that can't be sent is one that was not sent.
 */
export const cancel = (client: Pg.Client, stream?: Pg.ClientConfig["stream"]): Effect.Effect<void> =>
  Effect.async<void>((resume) => {
    const { host, port, processID, secretKey, ssl, sslNegotiation } = innards(client)
    if (processID === null || secretKey === null) {
      resume(Effect.void)
      return
    }
    const wire = new Pg.Connection({ ssl, sslNegotiation, stream } as Pg.ConnectionConfig) as unknown as Wire
    const send = () => wire.cancel(processID, secretKey)
    const done = () => {
      wire.stream.destroy()
      resume(Effect.void)
    }
    wire.on("connect", () => {
      if (ssl === false) send()
      else if (sslNegotiation !== "direct") wire.requestSsl()
    })
    wire.on("sslconnect", send)
    wire.on("error", done)
    wire.on("end", done)
    if (host.startsWith("/")) wire.connect(`${host}/.s.PGSQL.${port}` as unknown as number, "")
    else wire.connect(port, host)
    return Effect.sync(() => wire.stream.destroy())
  })
