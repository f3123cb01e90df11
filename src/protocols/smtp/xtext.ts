/**
 * xtext of RFC 3461 section 4, in which ENVID, ORCPT and AUTH= carry arbitrary octets through a command line:
 *
 *     xtext = *( xchar / hexchar )
 *     xchar = any ASCII CHAR between "!" (33) and "~" (126) inclusive, except for "+" and "="
 *     hexchar = ASCII "+" immediately followed by two upper case hexadecimal digits
 */
const wellFormed = /^(?:[!-*,-~]|\+[0-9A-Fa-f]{2})*$/

/**
 * The text behind `text`; undefined when it is not xtext. An `=` is read as itself: addresses of returned mail are
 * full of them, and many who write them do not encode them; so are digits in lower case. Octets above 127 are read as UTF-8.
 */
export function decodeXtext(text: string): string | undefined {
  if (!wellFormed.test(text)) return undefined
  if (!text.includes('+')) return text
  const latin1 = text.replace(/\+([0-9A-Fa-f]{2})/g, (_, hex: string) =>
    String.fromCharCode(Number.parseInt(hex, 16)),
  )
  return Buffer.from(latin1, 'latin1').toString('utf8')
}

/** `text` as xtext; characters beyond ASCII as their UTF-8 octets. */
export function encodeXtext(text: string): string {
  if (/^[!-*,-<>-~]*$/.test(text)) return text
  return Buffer.from(text, 'utf8')
    .toString('latin1')
    .replace(/[^!-*,-<>-~]/g, (c) => `+${c.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`)
}
