/**
 * The lines that could go, the one with the oldest ticket on top: a binary heap in which each line knows its place, so
 * that it can also leave from the middle.
 *
 * @internal
 */
import type { Line } from "./ticket.ts"

/** @internal */
export class Ready<A> {
  private readonly lines: Array<Line<A>> = []

  get size(): number {
    return this.lines.length
  }

  get top(): Line<A> | undefined {
    return this.lines[0]
  }

  add(line: Line<A>): void {
    line.at = this.lines.length
    this.lines.push(line)
    this.up(line)
  }

  remove(line: Line<A>): void {
    const last = this.lines.pop()!
    if (last !== line) {
      this.place(last, line.at)
      this.moved(last)
    }
    line.at = -1
  }

  /** Its oldest ticket is another one now. */
  moved(line: Line<A>): void {
    this.up(line)
    this.down(line)
  }

  private up(line: Line<A>): void {
    while (line.at > 0) {
      const parent = this.lines[(line.at - 1) >> 1]!
      if (age(parent) <= age(line)) return
      this.swap(parent, line)
    }
  }

  private down(line: Line<A>): void {
    for (;;) {
      const left = this.lines[2 * line.at + 1]
      const right = this.lines[2 * line.at + 2]
      const child = right !== undefined && age(right) < age(left!) ? right : left
      if (child === undefined || age(line) <= age(child)) return
      this.swap(line, child)
    }
  }

  private swap(parent: Line<A>, child: Line<A>): void {
    const at = parent.at
    this.place(parent, child.at)
    this.place(child, at)
  }

  private place(line: Line<A>, at: number): void {
    this.lines[at] = line
    line.at = at
  }
}

const age = (line: Line<unknown>): number => line.head!.number
