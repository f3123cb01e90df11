/** The multi-line answers of LIST and UIDL, made piece by piece as the client reads them. */
import type { Maildrop } from './maildrop.ts'

export class Listing {
  readonly #maildrop: Maildrop
  readonly #kind: 'LIST' | 'UIDL'
  #next = 0
  #status: string
  done = false
  /** An entry cannot be made: what was made must not look like the whole answer. */
  failed = false

  constructor(maildrop: Maildrop, kind: 'LIST' | 'UIDL') {
    this.#maildrop = maildrop
    this.#kind = kind
    this.#status = kind === 'LIST' ? `+OK ${maildrop.count - maildrop.deletedCount} messages\r\n` : '+OK\r\n'
  }

  /** The next part of the answer, some more than `octets` of it; the last one sets `done` and has the final dot, unless it `failed`. */
  produce(octets: number): string {
    const maildrop = this.#maildrop
    let text = this.#status
    this.#status = ''
    let index = this.#next
    for (; index < maildrop.count && text.length < octets; index++) {
      if (maildrop.isDeleted(index)) continue
      const value = this.#kind === 'LIST' ? maildrop.sizes[index] : maildrop.tellUidl(index)
      if (value === undefined) {
        this.failed = true
        this.done = true
        return text
      }
      text += `${index + 1} ${value}\r\n`
    }
    this.#next = index
    if (index < maildrop.count) return text
    this.done = true
    return `${text}.\r\n`
  }
}
