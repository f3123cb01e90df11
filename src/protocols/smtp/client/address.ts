/** Addresses as they go into commands: quoting of RFC 5321 section 4.1.2. */

/** A dot-string whose characters need no quoting; 8-bit is legal with SMTPUTF8. */
const dotString = /^[^\x00-\x20\x7f<>()[\]\\,;:"@.]+(?:\.[^\x00-\x20\x7f<>()[\]\\,;:"@.]+)*$/
const quotedString = /^"((?:[^"\\\r\n]|\\[^\r\n])*)"$/

/** Quotes the local part if it needs it and is not quoted already. The last `@` separates the domain. */
export function quoteAddress(address: string): string {
  const at = address.lastIndexOf('@')
  const local = at < 0 ? address : address.slice(0, at)
  if (dotString.test(local) || quotedString.test(local) || address === '') return address
  const quoted = `"${local.replace(/["\\]/g, '\\$&')}"`
  return at < 0 ? quoted : quoted + address.slice(at)
}

/** The address with a bare local part, for servers that choke on quotes (`quote_rfc821_envelope = false`). */
export function unquoteAddress(address: string): string {
  const at = address.lastIndexOf('@')
  const local = at < 0 ? address : address.slice(0, at)
  const match = quotedString.exec(local)
  if (match === null) return address
  return match[1]!.replace(/\\(.)/g, '$1') + (at < 0 ? '' : address.slice(at))
}

export function hasUtf8(text: string): boolean {
  return /[^\x00-\x7f]/.test(text)
}
