/** The header of a mail that is about to be sent, read ahead of the transaction. */
import { open } from 'node:fs/promises'
import { isAbsolute, join } from 'node:path'
import type { Content } from '../../../../queue/contract.ts'
import { type MimeLimits, MimeWalker } from './mime-walker.ts'

/** Of a longer header only the beginning is looked at. */
const headerOctets = 256 * 1024

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
    await using handle = await open(isAbsolute(file) ? file : join(contentDir, file))
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(headerOctets), 0, headerOctets, 0)
    return buffer.subarray(0, bytesRead)
  } catch {
    // The transaction meets the same trouble, and has a name for it.
    return undefined
  }
}

const eightBitField = /^content-transfer-encoding:[ \t]*(?:8bit|binary)\r?$/im

/** Whether a mail says of itself, or of one of its parts, that it has eight bits. Of a file the header alone is seen. */
export function saysEightBit(header: string, content: Content, limits: MimeLimits): boolean {
  if (eightBitField.test(header)) return true
  if (!('bytes' in content) || !/^content-type:[\s\S]*?(?:multipart|message)/im.test(header)) return false
  const { buffer, byteOffset, byteLength } = content.bytes
  const text = Buffer.from(buffer, byteOffset, byteLength).toString('latin1')
  // Most have no such line; whether it is a field and not text is another question.
  return eightBitField.test(text) && hasEightBitPart(text, limits)
}

function hasEightBitPart(text: string, limits: MimeLimits): boolean {
  let found = false
  const listener = {
    onField: (field: string) => {
      found ||= eightBitField.test(field)
    },
    onBody() {},
    onEncoded() {},
  }
  const walker = new MimeWalker({ limits, convert: false, parts: true }, listener)
  for (const line of text.split('\r\n')) walker.line(line, true)
  return found
}

/** Addresses of the Delivered-To fields of a header, in lower case. */
export function deliveredTo(header: string): Set<string> {
  const fields = header.replace(/\r\n(?=[ \t])/g, '').matchAll(/^delivered-to[ \t]*:[ \t]*(.*?)[ \t]*\r?$/gim)
  return new Set(Array.from(fields, ([, address = '']) => address.toLowerCase()))
}
