/** Content of queued mail outside the database: files in `content/`, each named after its queue id. */
import { closeSync, linkSync, openSync, readdirSync, readSync, statSync, unlinkSync } from 'node:fs'
import { basename, join } from 'node:path'
import { pid } from 'node:process'
import type { Logger } from '../actors/index.ts'
import type { QueueStore } from './store.ts'

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

  /** The same content under another name; returns it. */
  copy(file: string, name: string): string {
    linkSync(this.path(file), this.path(name))
    return name
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
