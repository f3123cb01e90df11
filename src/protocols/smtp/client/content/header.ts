/** The header of a mail that is about to be sent, read ahead of the transaction. */
import { open } from 'node:fs/promises'
import { isAbsolute, join } from 'node:path'
import type { Content } from '../../../../queue/contract.ts'
import { type MimeLimits, MimeWalker } from './mime-walker.ts'

/** Of a longer header only the beginning is looked at. */
const headerOctets = 256 * 1024

const pieceOctets = 256 * 1024
/** A field that says how a part is encoded is shorter. */
const longestField = 1_000
/** Of a line that is handed on in pieces. */
const longestPiece = 64 * 1024

/** Octets as latin1, up to the empty line; undefined: the file cannot be read. At once for content in memory. */
export function readHeader(content: Content, contentDir: string): string | Promise<string | undefined> {
  if ('bytes' in content) return headerOf(content.bytes)
  return readStart(content.file, contentDir).then((octets) => octets && headerOf(octets))
}

function headerOf(octets: Uint8Array): string {
  const bytes = Buffer.from(octets.buffer, octets.byteOffset, Math.min(octets.byteLength, headerOctets))
  const end = bytes.indexOf('\r\n\r\n')
  return bytes.toString('latin1', 0, end < 0 ? bytes.length : end + 2)
}

async function readStart(file: string, contentDir: string): Promise<Uint8Array | undefined> {
  try {
    await using handle = await open(pathOf(file, contentDir))
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(headerOctets), 0, headerOctets, 0)
    return buffer.subarray(0, bytesRead)
  } catch {
    // The transaction meets the same trouble, and has a name for it.
    return undefined
  }
}

const pathOf = (file: string, contentDir: string): string =>
  isAbsolute(file) ? file : join(contentDir, file)

const eightBitField = /^content-transfer-encoding:[ \t]*(?:8bit|binary)\r?$/im

/** Whether a mail says of itself, or of one of its parts, that it has eight bits. At once for content in memory. */
export function saysEightBit(
  header: string,
  content: Content,
  limits: MimeLimits,
  contentDir: string,
): boolean | Promise<boolean> {
  if (eightBitField.test(header)) return true
  if (!/^content-type:[\s\S]*?(?:multipart|message)/im.test(header)) return false
  if (!('bytes' in content)) return fileSaysEightBit(pathOf(content.file, contentDir), limits)
  const { buffer, byteOffset, byteLength } = content.bytes
  const text = Buffer.from(buffer, byteOffset, byteLength).toString('latin1')
  // Most have no such line; whether it is a field and not text is another question.
  if (!eightBitField.test(text)) return false
  const parts = new EightBitParts(limits)
  parts.push(text)
  return parts.found
}

/** The same of a file that is larger than what is kept in memory, piece by piece. */
async function fileSaysEightBit(path: string, limits: MimeLimits): Promise<boolean> {
  try {
    await using handle = await open(path)
    const piece = Buffer.allocUnsafe(pieceOctets)
    const pieces = async function* (): AsyncGenerator<string, void, void> {
      for (let at = 0; ; ) {
        const { bytesRead } = await handle.read(piece, 0, piece.length, at)
        if (bytesRead === 0) return
        at += bytesRead
        yield piece.toString('latin1', 0, bytesRead)
      }
    }
    let mayBe = false
    let before = ''
    for await (const text of pieces()) {
      mayBe = eightBitField.test(before + text)
      if (mayBe) break
      before = text.slice(-longestField)
    }
    if (!mayBe) return false
    const parts = new EightBitParts(limits)
    for await (const text of pieces()) {
      parts.push(text)
      if (parts.found) break
    }
    return parts.found
  } catch (error) {
    if ((error as NodeJS.ErrnoException).syscall === undefined) throw error
    // The transaction meets the same trouble, and has a name for it.
    return false
  }
}

/** Looks for parts that say of themselves that they have eight bits. */
class EightBitParts {
  found = false
  readonly #walker: MimeWalker
  #rest = ''

  constructor(limits: MimeLimits) {
    const listener = {
      onField: (field: string) => {
        this.found ||= eightBitField.test(field)
      },
      onBody() {},
      onEncoded() {},
    }
    this.#walker = new MimeWalker({ limits, convert: false, parts: true }, listener)
  }

  /** What follows the last line end waits for more, unless it is very long. */
  push(text: string): void {
    const lines = (this.#rest + text).split('\r\n')
    this.#rest = lines.pop() ?? ''
    for (const line of lines) this.#walker.line(line, true)
    // Its last octet may be the CR of a line end.
    if (this.#rest.length <= longestPiece) return
    this.#walker.line(this.#rest.slice(0, -1), false)
    this.#rest = this.#rest.slice(-1)
  }
}

/** Addresses of the Delivered-To fields of a header, in lower case. */
export function deliveredTo(header: string): Set<string> {
  const fields = header.replace(/\r\n(?=[ \t])/g, '').matchAll(/^delivered-to[ \t]*:[ \t]*(.*?)[ \t]*\r?$/gim)
  return new Set(Array.from(fields, ([, address = '']) => address.toLowerCase()))
}
