/** What was said in a session, for the postmaster: as much as fits, printable, and nothing secret. */
import { printable } from './reply-parser.ts'

/** Characters that are kept. */
const limit = 50_000

export class Transcript {
  readonly lines: string[] = []
  #length = 0

  /** One or more commands as they went out. */
  out(commands: string): void {
    for (const line of commands.split('\r\n')) if (line !== '') this.#add(`Out: ${printable(line)}`)
  }

  /** A line of the server. */
  in(line: string): void {
    this.#add(`In:  ${line}`)
  }

  #add(line: string): void {
    if (this.#length > limit) return
    this.#length += line.length
    this.lines.push(this.#length > limit ? '(more was said than is kept)' : line)
  }
}
