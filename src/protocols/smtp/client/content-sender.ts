/**
 * Sends the content of a mail after DATA was accepted. What is in memory goes out in one write with the final dot
 * and all that follows; what is in a file goes out in pieces, the next one when the system took the last.
 */
import { close, open, read } from 'node:fs'
import { isAbsolute, join } from 'node:path'
import type { Content } from '../../../queue/contract.ts'
import { ContentEncoder } from './content.ts'
import type { Bind, Session } from './session.ts'

/** `damaged`: the file is not what it was when it was queued. `unreadable`: it could not be read now. */
export interface ContentError {
  readonly kind: 'damaged' | 'unreadable'
  readonly reason: string
}

export interface ContentResult {
  readonly error: ContentError | undefined
  /** A line was too long for SMTP and was folded. */
  readonly folded: boolean
}

export interface ContentJob {
  readonly content: Content
  readonly contentDir: string
  readonly lineLimit: number
  /** Limit for each write. */
  readonly writeTimeoutMs: number
  readonly dotDelayMs: number
  /** What goes out with the final dot: QUIT, or nothing. */
  readonly tail: string
  readonly bind: Bind
  /** The final dot is handed to the socket. */
  dotSent(): void
  /** The system took everything, or nothing more will be sent. */
  done(result: ContentResult): void
}

/** Pieces of a file, and of large content in memory, so that a stalled server shows within one of them. */
const pieceOctets = 128 * 1024

export function sendContent(session: Session, job: ContentJob): void {
  const encoder = new ContentEncoder(job.lineLimit)
  if ('bytes' in job.content) sendBytes(session, job, encoder, job.content.bytes)
  else new FileSender(session, job, encoder, job.content.file, job.content.size).start()
}

function sendBytes(session: Session, job: ContentJob, encoder: ContentEncoder, bytes: Uint8Array): void {
  const encoded = encoder.encode(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength))
  finish(session, job, encoder, encoded)
}

/** The last piece, the final dot and the tail: one write, unless a firewall wants the dot alone. */
function finish(session: Session, job: ContentJob, encoder: ContentEncoder, last: Buffer): void {
  const end = encoder.finish()
  const flushed = (ok: boolean) => {
    // Otherwise the listener of the session has heard of the end.
    if (ok) job.done({ error: undefined, folded: encoder.folded })
  }
  if (job.dotDelayMs === 0) {
    job.dotSent()
    session.sendContent(last, end + job.tail, flushed)
    return
  }
  session.expect(job.dotDelayMs + job.writeTimeoutMs)
  session.sendContent(last, '', (ok) => {
    if (!ok) return
    setTimeout(
      job.bind(() => {
        job.dotSent()
        session.sendContent(Buffer.alloc(0), end + job.tail, flushed)
      }),
      job.dotDelayMs,
    )
  })
}

class FileSender {
  readonly #session: Session
  readonly #job: ContentJob
  readonly #encoder: ContentEncoder
  readonly #path: string
  readonly #size: number
  #fd = -1
  #position = 0

  constructor(session: Session, job: ContentJob, encoder: ContentEncoder, file: string, size: number) {
    this.#session = session
    this.#job = job
    this.#encoder = encoder
    this.#path = isAbsolute(file) ? file : join(job.contentDir, file)
    this.#size = size
  }

  start(): void {
    open(
      this.#path,
      'r',
      this.#job.bind((error: NodeJS.ErrnoException | null, fd: number) => {
        if (error !== null) {
          this.#fail(error.code === 'ENOENT' ? 'damaged' : 'unreadable', error.code ?? error.message)
          return
        }
        this.#fd = fd
        this.#next()
      }),
    )
  }

  #next(): void {
    const length = Math.min(pieceOctets, this.#size - this.#position)
    if (length === 0) {
      this.#close()
      finish(this.#session, this.#job, this.#encoder, Buffer.alloc(0))
      return
    }
    read(
      this.#fd,
      Buffer.allocUnsafe(length),
      0,
      length,
      this.#position,
      this.#job.bind((error: NodeJS.ErrnoException | null, count: number, buffer: Buffer) =>
        this.#gotPiece(error, count, buffer),
      ),
    )
  }

  #gotPiece(error: NodeJS.ErrnoException | null, count: number, buffer: Buffer): void {
    if (error !== null || count === 0) {
      if (error === null) this.#fail('damaged', `it ends after ${this.#position} of ${this.#size} octets`)
      else this.#fail('unreadable', error.code ?? error.message)
      return
    }
    this.#position += count
    const piece = this.#encoder.encode(buffer.subarray(0, count))
    if (this.#position === this.#size) {
      this.#close()
      this.#session.expect(this.#job.writeTimeoutMs)
      finish(this.#session, this.#job, this.#encoder, piece)
      return
    }
    this.#session.expect(this.#job.writeTimeoutMs)
    this.#session.sendContent(piece, '', (ok) => {
      if (ok) this.#next()
      else this.#close()
    })
  }

  #fail(kind: ContentError['kind'], why: string): void {
    this.#close()
    this.#job.done({
      error: { kind, reason: `the content of the mail cannot be read from the queue: ${why}` },
      folded: this.#encoder.folded,
    })
  }

  #close(): void {
    if (this.#fd >= 0) close(this.#fd, ignore)
    this.#fd = -1
  }
}

function ignore(): void {}
