/**
 * The addresses of a To, Cc or Bcc field, RFC 5322 section 3.4:
 *
 *     address-list = (address *("," address)) / obs-addr-list
 *     address      = mailbox / group
 *     mailbox      = [display-name] "<" addr-spec ">" / addr-spec
 *     group        = display-name ":" [address-list] ";"
 *
 * Lenient where people are: empty elements, a display name with unquoted dots, a bare local part.
 */

/** Every address in the text, without display names, comments and routes. */
export function addressesIn(text: string): readonly string[] {
  const addresses: string[] = []
  let plain = ''
  let angle: string | undefined
  let isInAngle = false

  const finish = () => {
    const address = (angle ?? plain).trim()
    // A source route in front of an address (`@a,@b:user@c`) is dropped, RFC 5321 appendix C.
    const withoutRoute = angle === undefined ? address : address.replace(/^@[^:]*:/, '')
    if (withoutRoute !== '') addresses.push(withoutRoute)
    plain = ''
    angle = undefined
  }

  for (let at = 0; at < text.length; ) {
    const char = text[at] ?? ''
    if (char === '(') {
      at = endOfComment(text, at)
      continue
    }
    if (char === '"') {
      const end = endOfQuoted(text, at)
      const quoted = text.slice(at, end)
      if (isInAngle) angle += quoted
      else plain += quoted
      at = end
      continue
    }
    at++
    if (isInAngle) {
      if (char === '>') isInAngle = false
      else angle += char.trim()
    } else if (char === '<') {
      isInAngle = true
      angle = ''
    } else if (char === ',' || char === ';') finish()
    // What stands in front of the colon is the name of a group.
    else if (char === ':') plain = ''
    else plain += char
  }
  finish()
  return addresses
}

function endOfComment(text: string, start: number): number {
  let depth = 0
  for (let at = start; at < text.length; at++) {
    if (text[at] === '\\') at++
    else if (text[at] === '(') depth++
    else if (text[at] === ')' && --depth === 0) return at + 1
  }
  return text.length
}

function endOfQuoted(text: string, start: number): number {
  for (let at = start + 1; at < text.length; at++) {
    if (text[at] === '\\') at++
    else if (text[at] === '"') return at + 1
  }
  return text.length
}
