/** As much of DER as it takes to cut the public key and the extensions out of a certificate, octet for octet. */

interface Element {
  readonly tag: number
  /** Of the whole element. */
  readonly start: number
  readonly contentStart: number
  readonly end: number
}

/** SubjectPublicKeyInfo of a certificate, RFC 5280 section 4.1; undefined when it is none. */
export function publicKeyInfo(certificate: Uint8Array): Uint8Array | undefined {
  const fields = fieldsOf(certificate)
  // serialNumber, signature, issuer, validity, subject, subjectPublicKeyInfo
  const key = fields[firstField(fields) + 5]
  return key?.tag === 0x30 ? certificate.subarray(key.start, key.end) : undefined
}

export interface Extension {
  /** As hex of its DER content, `551d0f`. */
  readonly oid: string
  readonly critical: boolean
  /** What is in its octet string. */
  readonly value: Buffer
}

/** Extensions of a certificate, RFC 5280 section 4.2. */
export function extensionsOf(certificate: Uint8Array): readonly Extension[] {
  const wrapper = fieldsOf(certificate).find(({ tag }) => tag === 0xa3)
  const list = wrapper && elementAt(certificate, wrapper.contentStart)
  if (list === undefined) return []
  return childrenOf(certificate, list).flatMap((one) => {
    const [oid, ...rest] = childrenOf(certificate, one)
    const value = rest.at(-1)
    if (oid === undefined || value?.tag !== 0x04) return []
    return {
      oid: contentOf(certificate, oid).toString('hex'),
      // DEFAULT FALSE: where it stands, it is TRUE.
      critical: rest.length > 1,
      value: contentOf(certificate, value),
    }
  })
}

/** RFC 5280 section 4.1.2.1: a certificate of version 1 says no version. */
export const isVersion1 = (certificate: Uint8Array): boolean => firstField(fieldsOf(certificate)) === 0

/** The content of each element within a SEQUENCE, with the tag it has. */
export function sequenceOf(bytes: Buffer): readonly { readonly tag: number; readonly content: Buffer }[] {
  const outer = elementAt(bytes, 0)
  if (outer?.tag !== 0x30) return []
  return childrenOf(bytes, outer).map((child) => ({ tag: child.tag, content: contentOf(bytes, child) }))
}

/** Whether the octets are one element, and nothing behind it. */
export const isOneElement = (bytes: Uint8Array): boolean => elementAt(bytes, 0)?.end === bytes.length

/** Fields of TBSCertificate. */
function fieldsOf(certificate: Uint8Array): Element[] {
  const outer = elementAt(certificate, 0)
  const inner = outer && elementAt(certificate, outer.contentStart)
  return inner === undefined ? [] : childrenOf(certificate, inner)
}

/** The version is optional: [0]. */
const firstField = (fields: readonly Element[]): number => (fields[0]?.tag === 0xa0 ? 1 : 0)

const contentOf = (bytes: Uint8Array, { contentStart, end }: Element): Buffer =>
  Buffer.from(bytes.subarray(contentStart, end))

function childrenOf(bytes: Uint8Array, parent: Element): Element[] {
  const children: Element[] = []
  for (let at = parent.contentStart; at < parent.end; ) {
    const child = elementAt(bytes, at)
    if (child === undefined) break
    children.push(child)
    at = child.end
  }
  return children
}

function elementAt(bytes: Uint8Array, start: number): Element | undefined {
  const tag = bytes[start]
  const first = bytes[start + 1]
  if (tag === undefined || first === undefined) return undefined
  let contentStart = start + 2
  let length = first
  if (first >= 0x80) {
    const octets = first & 0x7f
    if (octets === 0 || octets > 4) return undefined
    length = 0
    for (let i = 0; i < octets; i++) length = length * 256 + (bytes[contentStart + i] ?? 0)
    contentStart += octets
  }
  const end = contentStart + length
  return end > bytes.length ? undefined : { tag, start, contentStart, end }
}
