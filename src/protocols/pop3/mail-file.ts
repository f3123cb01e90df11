/**
 * Reading the file of a mail. The mail is immutable while it has its name, but other programs rename and remove
 * files at any time. Small mails are read at once: that takes microseconds, and a trip through the thread pool
 * ten times as long.
 */
import { closeSync, read, readSync, type Stats, statSync } from 'node:fs'
import { join } from 'node:path'
import { countBareLf, mailPath, openRegular } from '../../mailbox/contract.ts'

/** Mails up to this size are read in one synchronous call. */
export const smallMailOctets = 256 * 1024

/** Octets of a large mail that are read at once; also about what waits in memory for a slow client. */
export const pieceOctets = 64 * 1024

/** An open mail; close it. */
export class MailFile {
  readonly octets: number
  readonly #path: string | Buffer
  readonly #stat: Stats
  #fd: number
  #position = 0

  private constructor(path: string | Buffer, fd: number, stat: Stats) {
    this.octets = stat.size
    this.#path = path
    this.#stat = stat
    this.#fd = fd
  }

  /** Opens a mail; undefined: it is not there (any more, or under this name). Other failures are thrown. */
  static open(
    maildir: string,
    file: { readonly name: string; readonly inNew: boolean },
  ): MailFile | undefined {
    try {
      const path = mailPath(join(maildir, file.inNew ? 'new' : 'cur'), file.name)
      const { fd, stat } = openRegular(path)
      return new MailFile(path, fd, stat)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
      throw error
    }
  }

  /** Whether opening it once more would give the same. */
  get isUnchanged(): boolean {
    try {
      const now = statSync(this.#path)
      const { ino, size, mtimeMs, ctimeMs } = this.#stat
      return now.ino === ino && now.size === size && now.mtimeMs === mtimeMs && now.ctimeMs === ctimeMs
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === undefined) throw error
      return false
    }
  }

  /** All of it, if it is no larger than `buffer`; undefined when the file is shorter than it was. */
  readAll(buffer: Buffer): Buffer | undefined {
    let length = 0
    while (length < this.octets) {
      const count = readSync(this.#fd, buffer, length, this.octets - length, length)
      if (count === 0) return undefined
      length += count
    }
    return buffer.subarray(0, length)
  }

  /**
   * The next piece into `buffer`; calls back with its length: 0 at the end, -1 when the file is shorter than it
   * was or cannot be read.
   */
  readPiece(buffer: Buffer, callback: (length: number) => void): void {
    const wanted = Math.min(buffer.length, this.octets - this.#position)
    if (wanted === 0) {
      callback(0)
      return
    }
    read(this.#fd, buffer, 0, wanted, this.#position, (error, count) => {
      this.#position += count
      callback(error !== null || count === 0 ? -1 : count)
    })
  }

  /** Octets with CRLF line ends. Reads the whole file. */
  virtualOctets(buffer: Buffer): number {
    let position = 0
    let extra = 0
    let last = 0
    while (position < this.octets) {
      const count = readSync(this.#fd, buffer, 0, Math.min(buffer.length, this.octets - position), position)
      if (count === 0) break
      extra += countBareLf(buffer.subarray(0, count), last)
      last = buffer[count - 1]!
      position += count
    }
    return position + extra
  }

  /** Its first octets as latin1, as many as fit. */
  beginning(buffer: Buffer, most: number): string {
    const count = readSync(this.#fd, buffer, 0, Math.min(buffer.length, most, this.octets), 0)
    return buffer.toString('latin1', 0, count)
  }

  /** Whether the last octet is an LF. */
  endsLine(): boolean {
    const last = Buffer.alloc(1)
    return this.octets > 0 && readSync(this.#fd, last, 0, 1, this.octets - 1) === 1 && last[0] === 10
  }

  /** Whether there are octets above 0x7f in the header, as far as it fits into `buffer`. */
  has8BitHeader(buffer: Buffer): boolean {
    const count = readSync(this.#fd, buffer, 0, Math.min(buffer.length, this.octets), 0)
    const text = buffer.toString('latin1', 0, count)
    const end = /^\r?\n|\n\r?\n/.exec(text)?.index ?? text.length
    return /[\x80-\xff]/.test(text.slice(0, end))
  }

  close(): void {
    if (this.#fd === -1) return
    closeSync(this.#fd)
    this.#fd = -1
  }
}
