/**
 * Sends the content of a mail after DATA was accepted. What is short and in memory goes out in one write with the
 * final dot and all that follows; the rest goes out in pieces, the next one when the system took the last.
 */
import { close, open, read } from 'node:fs'
import { isAbsolute, join } from 'node:path'
import { crc32 } from 'node:zlib'
import type { Content, ContentFile } from '../../../../queue/contract.ts'
import { LocalDataError } from '../failure.ts'
import type { Bind, Session } from '../session.ts'
import { ContentEncoder } from './encoder.ts'
import { MimeNestingError } from './mime-walker.ts'
import type { ContentRewriter } from './rewriter.ts'

/**
 * - `damaged`: the file is not what it was when it was queued.
 * - `unreadable`: it could not be read now.
 * - `unconvertible`: it cannot be made what this server takes.
 * - `table`: a lookup table it depends on does not answer.
 */
export interface ContentError {
  readonly kind: 'damaged' | 'unreadable' | 'unconvertible' | 'table'
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
  /** Header fields in front, octets as latin1. */
  readonly prepend: string
  readonly rewriter?: ContentRewriter
  readonly lineLimit: number
  /** Limit for a write that makes no progress. */
  readonly writeTimeoutMs: number
  /** Octets each second that the server must take on the whole: the limit is a budget, and this tops it up. */
  readonly minDataRate?: number
  readonly dotDelayMs: number
  /** What goes out with the final dot: QUIT, or nothing. */
  readonly tail: string
  readonly bind: Bind
  monotonic(): number
  /** The final dot is handed to the socket. */
  dotSent(): void
  /** The system took everything, or nothing more will be sent. */
  done(result: ContentResult): void
}

/** Content in memory up to this size goes out in one write. */
const onePiece = 32 * 1024
/** Pieces of larger content. */
const pieceOctets = 128 * 1024
/** Where the rate counts, pieces are small enough for it to show. */
const ratedPieceOctets = 4 * 1024

export function sendContent(session: Session, job: ContentJob): void {
  new ContentSender(session, job).start()
}

class ContentSender {
  readonly #session: Session
  readonly #job: ContentJob
  readonly #encoder: ContentEncoder
  readonly #source: Source
  #budgetMs: number
  #over = false

  constructor(session: Session, job: ContentJob) {
    this.#session = session
    this.#job = job
    this.#encoder = new ContentEncoder(job.lineLimit)
    this.#budgetMs = job.writeTimeoutMs
    const piece = job.minDataRate === undefined ? pieceOctets : ratedPieceOctets
    const { content } = job
    this.#source =
      'bytes' in content
        ? new BytesSource(content.bytes, job.minDataRate === undefined ? onePiece : piece, piece)
        : new FileSource(
            isAbsolute(content.file) ? content.file : join(job.contentDir, content.file),
            content,
            job,
          )
  }

  start(): void {
    const { prepend } = this.#job
    const first = prepend === '' ? undefined : this.#through(Buffer.from(prepend, 'latin1'))
    if (this.#over) return
    this.#next(first ?? empty)
  }

  /** Reads the next piece and sends it behind `before`. */
  #next(before: Buffer): void {
    this.#source.read((result) => {
      if (this.#over) return
      if ('error' in result) this.#fail(result.error)
      else this.#send(before, result.bytes, result.last)
    })
  }

  #send(before: Buffer, bytes: Buffer, last: boolean): void {
    const encoded = this.#through(bytes, last)
    if (this.#over) return
    const out = before.length === 0 ? encoded : Buffer.concat([before, encoded])
    if (last) {
      this.#finish(out)
      return
    }
    if (out.length === 0) {
      this.#next(out)
      return
    }
    this.#write(out, '', () => this.#next(empty))
  }

  /** What goes on the wire for these octets of the content. */
  #through(bytes: Buffer, last = false): Buffer {
    const { rewriter } = this.#job
    if (rewriter === undefined) return this.#encoder.encode(bytes)
    try {
      const rewritten = rewriter.push(bytes)
      return this.#encoder.encode(last ? Buffer.concat([rewritten, rewriter.finish()]) : rewritten)
    } catch (error) {
      if (error instanceof MimeNestingError)
        this.#fail({
          kind: 'unconvertible',
          reason: 'the mail has 8-bit parts nested too deep to be converted',
        })
      else if (error instanceof LocalDataError) this.#fail({ kind: 'table', reason: error.message })
      else throw error
      return empty
    }
  }

  /** The last piece, the final dot and the tail: one write, unless a firewall wants the dot alone. */
  #finish(last: Buffer): void {
    const { job, encoder, session } = { job: this.#job, encoder: this.#encoder, session: this.#session }
    const end = encoder.finish()
    const flushed = () => job.done({ error: undefined, folded: encoder.folded })
    if (job.dotDelayMs === 0) {
      job.dotSent()
      this.#write(last, end + job.tail, flushed)
      return
    }
    this.#write(last, '', () => {
      session.expectNothing()
      setTimeout(
        job.bind(() => {
          job.dotSent()
          this.#write(empty, end + job.tail, flushed)
        }),
        job.dotDelayMs,
      )
    })
  }

  /** Calls `then` when the system took it; otherwise the listener of the session hears of the end. */
  #write(bytes: Buffer, tail: string, then: () => void): void {
    const { minDataRate, writeTimeoutMs, monotonic } = this.#job
    const began = monotonic()
    if (minDataRate !== undefined) this.#session.expect(this.#budgetMs)
    else this.#session.expectProgress(writeTimeoutMs, bytes.length)
    this.#session.sendContent(bytes, tail, (ok) => {
      if (!ok) {
        this.#source.close()
        return
      }
      if (minDataRate !== undefined) {
        const credit = (bytes.length / minDataRate) * 1000
        this.#budgetMs = Math.min(writeTimeoutMs, this.#budgetMs - (monotonic() - began) + credit)
      }
      then()
    })
  }

  #fail(error: ContentError): void {
    this.#over = true
    this.#source.close()
    this.#job.done({ error, folded: this.#encoder.folded })
  }
}

type Piece = { readonly bytes: Buffer; readonly last: boolean } | { readonly error: ContentError }

interface Source {
  /** May answer at once. */
  read(got: (piece: Piece) => void): void
  close(): void
}

class BytesSource implements Source {
  readonly #bytes: Buffer
  readonly #piece: number
  #position = 0

  constructor(bytes: Uint8Array, whole: number, piece: number) {
    this.#bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    this.#piece = bytes.length <= whole ? Math.max(bytes.length, 1) : piece
  }

  read(got: (piece: Piece) => void): void {
    const bytes = this.#bytes.subarray(this.#position, this.#position + this.#piece)
    this.#position += bytes.length
    got({ bytes, last: this.#position === this.#bytes.length })
  }

  close(): void {}
}

class FileSource implements Source {
  readonly #path: string
  readonly #size: number
  /** What the checksum of all has to be; undefined: not known. */
  readonly #expected: number | undefined
  readonly #piece: number
  readonly #bind: Bind
  #fd = -1
  #position = 0
  #crc = 0

  constructor(path: string, { size, crc }: ContentFile, { bind, minDataRate }: ContentJob) {
    this.#path = path
    this.#size = size
    this.#expected = crc
    this.#piece = minDataRate === undefined ? pieceOctets : ratedPieceOctets
    this.#bind = bind
  }

  read(got: (piece: Piece) => void): void {
    if (this.#fd >= 0) {
      this.#read(got)
      return
    }
    open(
      this.#path,
      'r',
      this.#bind((error: NodeJS.ErrnoException | null, fd: number) => {
        if (error !== null) {
          got(failed(error.code === 'ENOENT' ? 'damaged' : 'unreadable', error.code ?? error.message))
          return
        }
        this.#fd = fd
        this.#read(got)
      }),
    )
  }

  #read(got: (piece: Piece) => void): void {
    const length = Math.min(this.#piece, this.#size - this.#position)
    if (length === 0) {
      this.close()
      got({ bytes: empty, last: true })
      return
    }
    read(
      this.#fd,
      Buffer.allocUnsafe(length),
      0,
      length,
      this.#position,
      this.#bind((error: NodeJS.ErrnoException | null, count: number, buffer: Buffer) => {
        if (error !== null) got(failed('unreadable', error.code ?? error.message))
        else if (count === 0)
          got(failed('damaged', `it ends after ${this.#position} of ${this.#size} octets`))
        else {
          this.#position += count
          const bytes = buffer.subarray(0, count)
          if (this.#expected !== undefined) this.#crc = crc32(bytes, this.#crc)
          const last = this.#position === this.#size
          if (last) this.close()
          // Before the last piece goes out: without it and the dot the server has no mail.
          if (last && this.#expected !== undefined && this.#crc !== this.#expected)
            got(failed('damaged', 'its checksum is not what it was'))
          else got({ bytes, last })
        }
      }),
    )
  }

  close(): void {
    if (this.#fd >= 0) close(this.#fd, ignore)
    this.#fd = -1
  }
}

function failed(kind: ContentError['kind'], why: string): Piece {
  return { error: { kind, reason: `the content of the mail cannot be read from the queue: ${why}` } }
}

const empty = Buffer.alloc(0)

function ignore(): void {}
