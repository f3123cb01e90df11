/** Checks a DKIM signature, RFC 6376 section 6.1, of mail with CRLF line ends: rsa-sha256, relaxed/relaxed alone. */
import { createHash, createPublicKey, createVerify } from 'node:crypto'

export interface DkimSignature {
  readonly domain: string
  readonly selector: string
  /** Names of the fields it covers, lower case. */
  readonly fields: readonly string[]
}

/** `record` is the text of the key in the DNS. Throws with what does not fit. */
export function verifyDkim(mail: string, record: string): DkimSignature {
  const at = mail.indexOf('\r\n\r\n')
  const head = mail.slice(0, at + 2).match(/[^\r\n]*\r\n(?:[ \t][^\r\n]*\r\n)*/g) ?? []
  const field = head.find((line) => /^dkim-signature:/i.test(line))
  if (field === undefined) throw new Error('there is no signature')
  const tags = tagsOf(field.slice(field.indexOf(':') + 1))
  if (tags.a !== 'rsa-sha256' || tags.c !== 'relaxed/relaxed') throw new Error(`${tags.a}, ${tags.c}`)
  const body = `${mail
    .slice(at + 4)
    .replace(/[ \t]+/g, ' ')
    .replace(/ \r\n/g, '\r\n')
    .replace(/(?:\r\n)*$/, '')}\r\n`
  if (createHash('sha256').update(body, 'latin1').digest('base64') !== tags.bh) throw new Error('the body')
  const fields = tags.h!.toLowerCase().split(':')
  const left = [...head]
  const covered = fields.map((name) => {
    // Of several, the last one first.
    const index = left.findLastIndex((line) => line.toLowerCase().startsWith(`${name}:`))
    return index < 0 ? '' : `${relaxed(left.splice(index, 1)[0]!)}\r\n`
  })
  const unsigned = relaxed(field).replace(/(\bb=)[^;]*/, '$1')
  const key = createPublicKey({
    key: Buffer.from(tagsOf(record).p!, 'base64'),
    format: 'der',
    type: 'spki',
  })
  const isRight = createVerify('sha256')
    .update(covered.join('') + unsigned, 'latin1')
    .verify(key, tags.b!, 'base64')
  if (!isRight) throw new Error('the fields')
  return { domain: tags.d!, selector: tags.s!, fields }
}

const tagsOf = (text: string): Readonly<Record<string, string>> =>
  Object.fromEntries(
    text
      .split(';')
      .map((tag) => tag.replace(/\s+/g, ''))
      .filter((tag) => tag.includes('='))
      .map((tag) => [tag.slice(0, tag.indexOf('=')), tag.slice(tag.indexOf('=') + 1)]),
  )

function relaxed(field: string): string {
  const colon = field.indexOf(':')
  const value = field
    .slice(colon + 1)
    .replace(/\r\n/g, '')
    .replace(/[ \t]+/g, ' ')
    .trim()
  return `${field.slice(0, colon).trim().toLowerCase()}:${value}`
}
