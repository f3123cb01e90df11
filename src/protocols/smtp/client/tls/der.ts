/** As much of DER as it takes to cut the public key out of a certificate, octet for octet as it stands there. */

interface Element {
  readonly tag: number
  /** Of the whole element. */
  readonly start: number
  readonly contentStart: number
  readonly end: number
}

/** SubjectPublicKeyInfo of a certificate, RFC 5280 section 4.1; undefined when it is none. */
export function publicKeyInfo(certificate: Uint8Array): Uint8Array | undefined {
  const outer = elementAt(certificate, 0)
  const inner = outer && elementAt(certificate, outer.contentStart)
  if (outer === undefined || inner === undefined) return undefined
  const fields = childrenOf(certificate, inner)
  // The version is optional: [0].
  const first = fields[0]?.tag === 0xa0 ? 1 : 0
  // serialNumber, signature, issuer, validity, subject, subjectPublicKeyInfo
  const key = fields[first + 5]
  return key?.tag === 0x30 ? certificate.subarray(key.start, key.end) : undefined
}

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
