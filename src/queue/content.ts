/** Content of queued mail outside the database: files in `content/`, each named after its queue id. */
import {
  closeSync,
  fsyncSync,
  openSync,
  readdirSync,
  readSync,
  statSync,
  unlinkSync,
  writeSync,
} from 'node:fs'
import { basename, join } from 'node:path'
import { pid } from 'node:process'
import { crc32 } from 'node:zlib'
import type { Logger } from '../actors/index.ts'
import type { ContentFile } from './contract.ts'
import type { QueueStore } from './store.ts'

const pieceOctets = 256 * 1024

/** The folder of content files. */
export class ContentFolder {
  readonly #folder: string

  constructor(directory: string) {
    this.#folder = join(directory, 'content')
  }

  path(file: string): string {
    return join(this.#folder, file)
  }

  /** The name of a file its writer left here, or undefined when it is not here or has not the size it should. */
  accept(path: string, size: number): string | undefined {
    const file = basename(path)
    const found = statSync(this.path(file), { throwIfNoEntry: false })
    return found?.isFile() === true && found.size === size ? file : undefined
  }

  /** The first `limit` octets; undefined when the file cannot be read. */
  read(file: string, limit: number): Uint8Array | undefined {
    let fd: number
    try {
      fd = openSync(this.path(file), 'r')
    } catch {
      return undefined
    }
    try {
      const bytes = Buffer.alloc(limit)
      return bytes.subarray(0, readSync(fd, bytes, 0, limit, 0))
    } catch {
      return undefined
    } finally {
      closeSync(fd)
    }
  }

  /**
   * The content of a mail behind `front`, under another name and on stable storage; undefined when it is not there, or not
   * what it was.
   */
  copy({ file, size, crc: expected }: ContentFile, name: string, front: Buffer): ContentFile | undefined {
    const accepted = this.accept(file, size)
    if (accepted === undefined) return undefined
    const from = openSync(this.path(accepted), 'r')
    const to = openSync(this.path(name), 'wx', 0o600)
    let isDone = false
    try {
      let before = 0
      let crc = crc32(front)
      writeAll(to, front)
      const piece = Buffer.allocUnsafe(pieceOctets)
      for (let at = 0; at < size; ) {
        const octets = piece.subarray(0, readSync(from, piece, 0, Math.min(piece.length, size - at), at))
        if (octets.length === 0) return undefined
        before = crc32(octets, before)
        crc = crc32(octets, crc)
        writeAll(to, octets)
        at += octets.length
      }
      if (expected !== undefined && before !== expected) return undefined
      fsyncSync(to)
      const folder = openSync(this.#folder, 'r')
      fsyncSync(folder)
      closeSync(folder)
      isDone = true
      return { file: name, size: front.length + size, crc }
    } finally {
      closeSync(from)
      closeSync(to)
      if (!isDone) this.remove(name)
    }
  }

  /** Gone already is as good. */
  remove(file: string): void {
    try {
      unlinkSync(this.path(file))
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
    }
  }

  /** Removes files nobody refers to, unless changed after `before` (ms since the epoch); returns their names. */
  sweep(isKnown: (file: string) => boolean, before: number): readonly string[] {
    const removed: string[] = []
    for (const file of readdirSync(this.#folder)) {
      if (isKnown(file)) continue
      const found = statSync(this.path(file), { throwIfNoEntry: false })
      if (found?.isFile() !== true || found.mtimeMs > before) continue
      this.remove(file)
      removed.push(file)
    }
    return removed
  }
}

/** Content files nobody refers to, of this same process, are left alone for so long: their mail may be on its way. */
const orphanMs = 3_600_000

/** For the start: content whose mail was not stored, or is gone. */
export function sweepOrphans(folder: ContentFolder, store: QueueStore, now: number, log: Logger): void {
  // Files of a process that died are nobody's; those of this process may belong to a session that is about to
  // hand its mail over, when the queue alone was restarted.
  const isOwn = store.exchangeWriter(`pid ${pid}`) === `pid ${pid}`
  const removed = folder.sweep(
    (file) => store.mailByQueueId(file) !== undefined,
    isOwn ? now - orphanMs : Number.POSITIVE_INFINITY,
  )
  if (removed.length === 0) return
  log.info({ event: 'queue.orphans', files: removed.length }, 'content without a mail was removed')
}

function writeAll(fd: number, octets: Uint8Array): void {
  for (let at = 0; at < octets.length; ) at += writeSync(fd, octets, at)
}
