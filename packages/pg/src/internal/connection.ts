/**
 * A `PgConnection` over its session.
 */
import type { Restore } from "@checkpool/pool/Pool"
import type { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import { identity } from "effect/Function"
import { NodeInspectSymbol } from "effect/Inspectable"
import * as Pg from "pg"
import type { PgConnection } from "../PgConnection.ts"
import { close } from "./close.ts"
import * as Cursor from "./cursor.ts"
import * as Driver from "./driver.ts"
import * as Query from "./query.ts"
import { reset } from "./reset.ts"
import type { Session } from "./session.ts"

type TransformRows = (<A extends object>(row: ReadonlyArray<A>) => ReadonlyArray<A>) | undefined

/** @internal */
export class Connection implements PgConnection {
  private readonly session: Session

  constructor(session: Session) {
    this.session = session
  }

  get client() {
    this.session.touched = true
    return this.session.pg
  }

  get processId() {
    return Driver.processId(this.session.pg)
  }

  get statements() {
    return this.session.statements
  }

  get broken() {
    return this.session.broken
  }

  get prepared() {
    return this.session.cache.size
  }

  get dirty() {
    return this.session.dirty
  }

  readonly ping: Effect.Effect<void, SqlError> = Effect.suspend(() => {
    this.session.pinging = true
    return Effect.map(
      Query.run(this.session, { text: "SELECT 1", upkeep: true }, identity, () =>
        Effect.sync(() => this.session.cut(new Error("The server did not answer in time")))
      ),
      () => {
        this.session.pinging = false
      }
    )
  })

  readonly reset: Effect.Effect<void, SqlError> = Effect.suspend(() => reset(this.session, this.settleIn))

  /** What every borrower is to find. */
  readonly settleIn: Effect.Effect<void, SqlError> = Effect.suspend(() =>
    Effect.map(this.session.config.onConnect?.(this) ?? Effect.void, () => {
      this.session.touched = false
    })
  )

  readonly close: Effect.Effect<void> = Effect.suspend(() => close(this.session))

  onBroken(listener: (cause: unknown) => void): void {
    this.session.onBroken(listener)
  }

  onNotification(listener: (notification: Pg.Notification) => void): () => void {
    const { pg } = this.session
    pg.on("notification", listener)
    return () => pg.off("notification", listener)
  }

  listen(channel: string): Effect.Effect<void, SqlError> {
    return this.subscribe("LISTEN", channel, () => this.session.channels.add(channel))
  }

  unlisten(channel: string): Effect.Effect<void, SqlError> {
    return this.subscribe("UNLISTEN", channel, () => this.session.channels.delete(channel))
  }

  /** One that did not succeed may have been done all the same: the next reset sees to it. */
  private subscribe(how: string, channel: string, done: () => void): Effect.Effect<void, SqlError> {
    const text = `${how} ${Pg.escapeIdentifier(channel)}`
    return Effect.onError(Query.run(this.session, { text, upkeep: true }, done), () =>
      Effect.sync(() => {
        this.session.touched = true
      })
    )
  }

  toJSON() {
    const { broken, dirty, processId, statements } = this
    return { _id: "PgConnection", processId, statements, dirty, broken: broken !== undefined }
  }

  /** Not what it is made of: there are secrets in it. */
  [NodeInspectSymbol]() {
    return this.toJSON()
  }

  execute(sql: string, params: ReadonlyArray<unknown>, transformRows: TransformRows, restore?: Restore) {
    return this.send({ text: sql, values: params, prepare: true }, (result) => rowsOf(result, transformRows), restore)
  }

  executeRaw(sql: string, params: ReadonlyArray<unknown>, restore?: Restore) {
    return this.send({ text: sql, values: params, prepare: true }, identity, restore)
  }

  executeValues(
    sql: string,
    params: ReadonlyArray<unknown>,
    restore?: Restore
  ): Effect.Effect<ReadonlyArray<ReadonlyArray<unknown>>, SqlError> {
    return this.send({ text: sql, values: params, rowMode: "array", prepare: true }, ({ rows }) => rows, restore)
  }

  executeUnprepared(sql: string, params: ReadonlyArray<unknown>, transformRows: TransformRows, restore?: Restore) {
    return this.send({ text: sql, values: params }, (result) => rowsOf(result, transformRows), restore)
  }

  /** With `restore`, it is to be run within a region that can't be interrupted. */
  private send<A>(statement: Query.Statement, pick: (result: Pg.QueryResult) => A, restore: Restore | undefined) {
    return restore === undefined
      ? Query.run(this.session, statement, pick)
      : Query.runMasked(this.session, statement, pick, restore)
  }

  executeCommand(command: string) {
    return Query.run(this.session, { text: command }, (result) => result.command)
  }

  executeStream(sql: string, params: ReadonlyArray<unknown>, transformRows: TransformRows) {
    return Cursor.stream(this.session, sql, params, transformRows)
  }
}

/** Several statements in one text give several results. */
const rowsOf = (
  result: Pg.QueryResult,
  transformRows: TransformRows
): ReadonlyArray<Pg.QueryResult["rows"][number]> => {
  if (Array.isArray(result)) return result.map((one: Pg.QueryResult) => one.rows)
  return transformRows === undefined ? result.rows : transformRows(result.rows)
}
