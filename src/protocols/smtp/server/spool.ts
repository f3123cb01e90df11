/**
 * Holds the content of one mail while it arrives: in memory up to a limit, then in a file of the queue's content
 * folder. The file is this spool's until `release`. Its owner calls `discard` in the end in any case.
 */
import { closeSync, fsync, mkdirSync, open, openSync, unlinkSync, writev } from 'node:fs'
import { dirname } from 'node:path'
import { promisify } from 'node:util'
import { crc32 } from 'node:zlib'
import type { Content } from '../../../queue/contract.ts'

const openAsync = promisify(open)
const fsyncAsync = promisify(fsync)

/** Slices below this are copied together: each Buffer object costs more than such a slice holds. */
const smallOctets = 2_048
const blockOctets = 16_384
/** Most slices of one write: the limit of writev in POSIX systems. */
const maxSlices = 1_000

export interface SpoolOptions {
  /** Path of the file that is made when memory is not enough. */
  readonly file: string
  readonly inMemoryLimit: number
  /** Octets of content taken at most; 0: no limit. Beyond it everything is dropped. */
  readonly maxOctets: number
  /**
   * Called once, with the start of the content: all of it, or more than `inMemoryLimit`. Returns what takes its
   * place.
   */
  readonly compose: (head: Buffer, isAll: boolean) => readonly Buffer[]
  /** A write was done: there is room again. */
  readonly onRoom: () => void
}

export class Spool {
  /** Octets of content taken so far, also when they were dropped. */
  octets = 0
  isTooLarge = false
  readonly #options: SpoolOptions
  #slices: Buffer[] = []
  #held = 0
  /** The block that small slices are copied to, and how far it is filled and handed on. */
  #block: Buffer | undefined
  #filled = 0
  /** In file mode: octets in the file, the front included. */
  #written = 0
  #crc = 0
  #fd = -1
  #mode: 'memory' | 'file' | 'dropped' = 'memory'
  #writing: Promise<void> | undefined
  #failure: unknown
  #isReleased = false

  constructor(options: SpoolOptions) {
    this.#options = options
  }

  /** Octets that wait for the disk: the caller stops reading when they are many. */
  get backlog(): number {
    return this.#mode === 'file' ? this.#held : 0
  }

  /** Takes a piece of content. The bytes are kept as they are, not copied, unless they are few. */
  append(slice: Buffer): void {
    this.octets += slice.length
    const { maxOctets, inMemoryLimit } = this.#options
    if (this.#mode === 'dropped') return
    if (maxOctets !== 0 && this.octets > maxOctets) {
      this.isTooLarge = true
      this.#drop()
      return
    }
    this.#hold(slice)
    if (this.#mode === 'file') this.#write()
    else if (this.#held > inMemoryLimit) {
      this.#mode = 'file'
      this.#slices = [...this.#options.compose(Buffer.concat(this.#slices, this.#held), false)]
      this.#held = this.#slices.reduce((sum, { length }) => sum + length, 0)
      this.#write()
    }
  }

  /** All content is there. Rejects with the system's error when something could not be written. */
  finish(): Content | Promise<Content> {
    if (this.#mode !== 'memory') return this.#finishFile()
    const [only, ...more] = this.#slices
    const head = only !== undefined && more.length === 0 ? only : Buffer.concat(this.#slices, this.#held)
    this.#slices = []
    return { bytes: Buffer.concat(this.#options.compose(head, true)) }
  }

  /** Flushes a finished file, its folder included; nothing to do for content in memory. */
  async sync(): Promise<void> {
    if (this.#fd === -1) return
    await fsyncAsync(this.#fd)
    await syncFolder(dirname(this.#options.file))
  }

  /** The file belongs to the queue from now on: `discard` leaves it alone. */
  release(): void {
    this.#isReleased = true
  }

  /** Forgets everything and removes the file. Safe at any time, also twice. */
  async discard(): Promise<void> {
    this.#drop()
    while (this.#writing !== undefined) await this.#writing
    this.#remove()
  }

  async #finishFile(): Promise<Content> {
    while (this.#writing !== undefined) await this.#writing
    if (this.#failure !== undefined) throw this.#failure
    return { file: this.#options.file, size: this.#written, crc: this.#crc }
  }

  #hold(slice: Buffer): void {
    this.#held += slice.length
    if (slice.length >= smallOctets) {
      this.#slices.push(slice)
      return
    }
    let block = this.#block
    if (block === undefined || this.#filled + slice.length > block.length) {
      // The first is small: most mails that need one have a single short slice for it.
      block = Buffer.allocUnsafe(block === undefined ? smallOctets : blockOctets)
      this.#block = block
      this.#filled = 0
    }
    slice.copy(block, this.#filled)
    const last = this.#slices.at(-1)
    const end = this.#filled + slice.length
    // Grow the view of the same block when nothing came in between.
    if (
      last !== undefined &&
      last.buffer === block.buffer &&
      last.byteOffset + last.length === block.byteOffset + this.#filled &&
      last.byteOffset >= block.byteOffset
    ) {
      this.#slices[this.#slices.length - 1] = block.subarray(last.byteOffset - block.byteOffset, end)
    } else this.#slices.push(block.subarray(this.#filled, end))
    this.#filled = end
  }

  #write(): void {
    if (this.#writing !== undefined || this.#slices.length === 0) return
    this.#writing = this.#writeAll().then(
      () => this.#wrote(),
      (error: unknown) => {
        this.#failure = error
        this.#drop()
        this.#wrote()
      },
    )
  }

  async #writeAll(): Promise<void> {
    if (this.#fd === -1) this.#fd = await openNew(this.#options.file)
    while (this.#slices.length > 0) {
      const batch = this.#slices.splice(0, maxSlices)
      const size = batch.reduce((sum, slice) => sum + slice.length, 0)
      for (const slice of batch) this.#crc = crc32(slice, this.#crc)
      await writeFully(this.#fd, batch, size)
      this.#written += size
      this.#held = Math.max(0, this.#held - size)
    }
  }

  #wrote(): void {
    this.#writing = undefined
    if (this.#mode === 'dropped') this.#remove()
    else this.#write()
    this.#options.onRoom()
  }

  /** The file goes when no write is under way any more. */
  #drop(): void {
    this.#slices = []
    this.#held = 0
    this.#block = undefined
    this.#mode = 'dropped'
    if (this.#writing === undefined) this.#remove()
  }

  #remove(): void {
    if (this.#fd === -1) return
    const fd = this.#fd
    this.#fd = -1
    try {
      closeSync(fd)
      if (!this.#isReleased) unlinkSync(this.#options.file)
    } catch (error) {
      // The queue removes files that belong to no mail at its next start, so this one is only early or late.
      if ((error as NodeJS.ErrnoException).syscall === undefined) throw error
    }
  }
}

async function openNew(file: string): Promise<number> {
  try {
    return await openAsync(file, 'wx', 0o600)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
    mkdirSync(dirname(file), { recursive: true, mode: 0o700 })
    return await openAsync(file, 'wx', 0o600)
  }
}

/** A write may be cut short, on a full disk for example; then the next one says why. */
async function writeFully(fd: number, slices: readonly Buffer[], size: number): Promise<void> {
  let left: readonly Buffer[] = slices
  let missing = size
  while (missing > 0) {
    const written = await new Promise<number>((resolve, reject) => {
      writev(fd, left, null, (error, count) => (error === null ? resolve(count) : reject(error)))
    })
    missing -= written
    if (missing > 0) left = [Buffer.concat(left).subarray(written)]
  }
}

async function syncFolder(folder: string): Promise<void> {
  const fd = openSync(folder, 'r')
  try {
    await fsyncAsync(fd)
  } finally {
    closeSync(fd)
  }
}
