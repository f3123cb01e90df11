/** Finds out the sizes of mails that neither their names nor the index know, by reading them. */
import { MailFile } from './mail-file.ts'
import type { Maildrop } from './maildrop.ts'

/** How long one turn may keep the thread from other sessions. */
const turnMs = 5

export class SizeScan {
  /** Found out so far. */
  readonly uids: number[] = []
  readonly sizes: number[] = []
  readonly #maildrop: Maildrop
  readonly #maildir: string
  readonly #acceptPhysical: boolean
  readonly #buffer: Buffer
  readonly #indexes: readonly number[]
  #next = 0

  constructor(maildrop: Maildrop, maildir: string, acceptPhysical: boolean, buffer: Buffer) {
    this.#maildrop = maildrop
    this.#maildir = maildir
    this.#acceptPhysical = acceptPhysical
    this.#buffer = buffer
    this.#indexes = maildrop.unsized()
  }

  /**
   * Reads some mails. `more`: call again; `vanished`: one is gone, so the maildrop must be opened again; `failed`:
   * one cannot be read.
   */
  work(): 'more' | 'done' | 'vanished' | 'failed' {
    const until = performance.now() + turnMs
    while (this.#next < this.#indexes.length) {
      const index = this.#indexes[this.#next]!
      let file: MailFile | undefined
      try {
        file = MailFile.open(this.#maildir, this.#maildrop.file(index))
        if (file === undefined) return 'vanished'
        const size = this.#acceptPhysical ? file.octets : file.virtualOctets(this.#buffer)
        this.#maildrop.sizes[index] = size
        if (!this.#acceptPhysical) {
          this.uids.push(this.#maildrop.uid(index))
          this.sizes.push(size)
        }
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === undefined) throw error
        return 'failed'
      } finally {
        file?.close()
      }
      this.#next++
      if (performance.now() > until) return 'more'
    }
    return 'done'
  }
}
