/**
 * The two header fields that say what a body is: Content-Type (RFC 2045 section 5.1) and Content-Transfer-Encoding
 * (section 6.1). Read as leniently as mail is written: what makes no sense says nothing.
 */
import { HeaderTokens } from './header-tokens.ts'

export interface MediaType {
  /** `leaf`: has no parts and no header of its own. */
  readonly kind: 'leaf' | 'message' | 'multipart'
  /** Lower case. */
  readonly subtype: string
  /** Boundaries of a multipart, as many as were given: only one is legal, and all are believed. */
  readonly boundaries: readonly string[]
}

export const leafType: MediaType = { kind: 'leaf', subtype: '', boundaries: [] }
export const messageType: MediaType = { kind: 'message', subtype: 'rfc822', boundaries: [] }

/** Parses the value of Content-Type; undefined: a type that changes nothing. */
export function parseMediaType(value: string): MediaType | undefined {
  const tokens = new HeaderTokens(value, '()<>@,;:\\"/[]?=')
  const [type, slash, sub] = tokens.upTo(';') ?? []
  if (type === undefined) return leafType
  const name = type.kind === 'word' ? type.text.toLowerCase() : ''
  if (name === 'text') return leafType
  if (name !== 'message' && name !== 'multipart') return undefined
  const subtype = slash?.text === '/' && sub?.kind === 'word' ? sub.text.toLowerCase() : ''
  if (name === 'message') return { kind: 'message', subtype, boundaries: [] }
  const boundaries: string[] = []
  for (let item = tokens.upTo(';'); item !== undefined; item = tokens.upTo(';')) {
    const [attribute, equals, boundary] = item
    if (attribute?.kind !== 'word' || attribute.text.toLowerCase() !== 'boundary') continue
    if (equals?.kind === 'special' && equals.text === '=' && boundary !== undefined)
      boundaries.push(boundary.text)
  }
  return { kind: 'multipart', subtype, boundaries }
}

/** Whether a body with this Content-Transfer-Encoding holds octets as they are, with the eighth bit; undefined: an
 * encoding nobody knows. */
export function isEightBit(value: string): boolean | undefined {
  const [word] = new HeaderTokens(value, '()<>@,;:\\".[]').upTo('') ?? []
  if (word?.kind !== 'word') return undefined
  switch (word.text.toLowerCase()) {
    case '8bit':
    case 'binary':
      return true
    case '7bit':
    case 'base64':
    case 'quoted-printable':
      return false
    default:
      return undefined
  }
}
