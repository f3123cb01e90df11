/** Content is handled as octets, one character each (latin1); tables and logs are text. */

/** The text that octets are in UTF-8; octets that are no UTF-8 are read one by one. */
export function textOf(octets: string): string {
  if (!/[^\x00-\x7f]/.test(octets)) return octets
  try {
    return decoder.decode(Buffer.from(octets, 'latin1'))
  } catch {
    return octets
  }
}

export function octetsOf(text: string): string {
  return /[^\x00-\x7f]/.test(text) ? Buffer.from(text, 'utf8').toString('latin1') : text
}

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
