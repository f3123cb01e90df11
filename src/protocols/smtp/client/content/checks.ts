/**
 * Header and body checks of the delivery client: what tables say about the fields and lines that are sent. Actions
 * change what goes out, or are logged; what only a receiving server could do (REJECT, HOLD …) is refused with a
 * warning and the line passes.
 */
import type { Maps } from '../../../../tables/contract.ts'
import { LocalDataError } from '../failure.ts'
import type { HeaderClass } from './mime-walker.ts'
import { octetsOf, textOf } from './octets.ts'

export interface CheckMaps {
  readonly header: Maps
  readonly mimeHeader: Maps
  readonly nestedHeader: Maps
  readonly body: Maps
}

export interface CheckLog {
  /** An action that was taken: its name in lower case, the line, the text of the action. */
  acted(action: string, where: 'header' | 'body', line: string, text: string): void
  /** The table is wrong. */
  warn(problem: string): void
}

/** Fields about the body are judged by the MIME table, also in the mail's own header. */
const mimeFields: ReadonlySet<string> = new Set([
  'content-description',
  'content-disposition',
  'content-id',
  'content-transfer-encoding',
  'content-type',
  'mime-version',
])

export class ContentChecks {
  readonly #maps: CheckMaps
  readonly #log: CheckLog

  constructor(maps: CheckMaps, log: CheckLog) {
    this.#maps = maps
    this.#log = log
  }

  get ofHeaders(): boolean {
    return !(this.#maps.header.isEmpty && this.#maps.mimeHeader.isEmpty && this.#maps.nestedHeader.isEmpty)
  }

  get ofBodies(): boolean {
    return !this.#maps.body.isEmpty
  }

  /** What is sent instead of the field: lines in order, none to leave it out. The last one is the field. */
  field(field: string, name: string, where: HeaderClass): Outcome {
    const maps =
      where === 'mime' || mimeFields.has(name)
        ? this.#maps.mimeHeader
        : where === 'nested'
          ? this.#maps.nestedHeader
          : this.#maps.header
    return this.#judge(maps, field, 'header')
  }

  line(text: string): Outcome {
    return this.#judge(this.#maps.body, text, 'body')
  }

  #judge(maps: Maps, line: string, where: 'header' | 'body'): Outcome {
    if (maps.isEmpty) return { line }
    const answer = maps.lookup(textOf(line))
    if (answer.kind === 'none') return { line }
    if (answer.kind === 'error') throw new LocalDataError(`${where} checks: ${answer.detail}`)
    const [, word = '', text = ''] = /^([^ \t]*)[ \t]*([\s\S]*)$/.exec(octetsOf(answer.value))!
    const action = word.toUpperCase()
    switch (action) {
      case 'DUNNO':
      case 'OK':
        return { line }
      case 'IGNORE':
        return {}
      case 'STRIP':
        this.#log.acted('strip', where, line, text)
        return {}
      case 'WARN':
      case 'INFO':
        this.#log.acted(action.toLowerCase(), where, line, text)
        return { line }
      case 'REPLACE':
      case 'PREPEND':
        if (!this.#isUsable(action, text, where)) return { line }
        this.#log.acted(action.toLowerCase(), where, line, text)
        return action === 'REPLACE' ? { line: text } : { before: text, line }
      default:
        this.#log.warn(`${where} checks: "${word}" is not for mail that is sent; the line passes`)
        return { line }
    }
  }

  #isUsable(action: string, text: string, where: 'header' | 'body'): boolean {
    if (text === '') this.#log.warn(`${where} checks: ${action} without a text; the line passes`)
    else if (where === 'header' && !/^[^\x00-\x20\x7f-\xff:]+[ \t]*:/.test(text)) {
      this.#log.warn(`${where} checks: ${action} "${text}" is no header field (Name: value); the line passes`)
    } else return true
    return false
  }
}

export interface Outcome {
  /** A line to send in front. */
  readonly before?: string
  /** The line itself; absent: it is left out. */
  readonly line?: string
}
