/** Finds out what neither names nor index know of mails, by reading them: their sizes, and their X-UIDL fields. */
import { headerOf, sizeInName } from '../../mailbox/contract.ts'
import { MailFile } from './mail-file.ts'
import type { Maildrop } from './maildrop.ts'

/** What was found out, by uid. */
export interface Findings {
  readonly sized: { readonly uids: number[]; readonly sizes: number[] }
  readonly xuidls: { readonly uids: number[]; readonly values: string[] }
  /** Mails with a wrong size in their file name. */
  readonly misnamed: number[]
}

export const noFindings = (): Findings => ({
  sized: { uids: [], sizes: [] },
  xuidls: { uids: [], values: [] },
  misnamed: [],
})

export const isEmpty = ({ sized, xuidls, misnamed }: Findings): boolean =>
  sized.uids.length === 0 && xuidls.uids.length === 0 && misnamed.length === 0

export interface ScanOptions {
  readonly maildir: string
  /** Accept the size on the disk. */
  readonly fast: boolean
  /** Memory for one read. */
  readonly buffer: Buffer
}

/** How long one turn may keep the thread from other sessions. */
const turnMs = 5
/** No header is read further for its X-UIDL field. */
const headerOctets = 64 * 1024

export class MailScan {
  readonly #maildrop: Maildrop
  readonly #options: ScanOptions
  readonly #findings: Findings
  #next = 0

  constructor(maildrop: Maildrop, options: ScanOptions, findings: Findings) {
    this.#maildrop = maildrop
    this.#options = options
    this.#findings = findings
  }

  /**
   * Reads some mails. `more`: call again; `names`: the file name of mail `next` is needed; `vanished`: a mail is
   * gone, so the maildrop must be opened again; `failed`: one cannot be read.
   */
  work(): 'more' | 'names' | 'done' | 'vanished' | 'failed' {
    const maildrop = this.#maildrop
    const until = performance.now() + turnMs
    for (; this.#next < maildrop.count; this.#next++) {
      const index = this.#next
      if (maildrop.sizes[index]! >= 0 && !maildrop.wantsXuidl(index)) continue
      const place = maildrop.file(index)
      if (place === undefined) return 'names'
      if (this.#knowsFromName(index, place.name)) continue
      let file: MailFile | undefined
      try {
        file = MailFile.open(this.#options.maildir, place)
        if (file === undefined) return 'vanished'
        this.#read(index, file, place.name)
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === undefined) throw error
        return 'failed'
      } finally {
        file?.close()
      }
      if (performance.now() > until) {
        this.#next++
        return 'more'
      }
    }
    return 'done'
  }

  /** Index of the mail whose turn it is. */
  get next(): number {
    return this.#next
  }

  #knowsFromName(index: number, name: string): boolean {
    if (!this.#options.fast || this.#maildrop.sizes[index]! >= 0) return false
    const size = sizeInName(name, 'S')
    if (size !== -1) this.#maildrop.sizes[index] = size
    return size !== -1 && !this.#maildrop.wantsXuidl(index)
  }

  #read(index: number, file: MailFile, name: string): void {
    const maildrop = this.#maildrop
    const { buffer } = this.#options
    const { sized, xuidls, misnamed } = this.#findings
    if (maildrop.sizes[index]! < 0) {
      // Also where sizes from names are good enough: as with Dovecot, a mail whose name has none is read.
      const size = file.virtualOctets(buffer)
      maildrop.sizes[index] = size
      sized.uids.push(maildrop.uid(index))
      sized.sizes.push(size)
      if (maildrop.mayRename && isMisnamed(name, file.octets, size)) misnamed.push(maildrop.uid(index))
    }
    if (!maildrop.wantsXuidl(index)) return
    const value = xuidlIn(file.beginning(buffer, headerOctets))
    maildrop.list.learnXuidl(index, value)
    xuidls.uids.push(maildrop.uid(index))
    xuidls.values.push(value)
  }
}

/** Whether a name says a size that the file does not have, on the disk or with CRLF line ends. */
export function isMisnamed(name: string, octets: number, virtual: number): boolean {
  const physical = sizeInName(name, 'S')
  if (physical !== -1 && physical !== octets) return true
  const withCrlf = sizeInName(name, 'W')
  return withCrlf !== -1 && withCrlf !== virtual
}

/** The first X-UIDL field of a header, without blanks around; empty when there is none. A folded one is no UIDL. */
export function xuidlIn(beginning: string): string {
  const field = /(?:^|\n)X-UIDL[ \t]*:((?:[^\r\n]|\r(?!\n)|\r?\n[ \t])*)/i.exec(headerOf(beginning))
  return field === null ? '' : field[1]!.trim().replace(/\r?\n/g, '')
}
