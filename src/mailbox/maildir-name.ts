/**
 * File names in a Maildir:
 *
 *     name = base [ ":2," flags [ "," rest ] ]
 *     base = seconds "." unique "." host *( "," KEY "=" value )     S= octets on disk, W= octets with CRLF
 *
 * Two names mean the same mail when their bases are equal. Names are handled as latin1 strings, one character
 * an octet, because nothing says that they are UTF-8.
 */

/** The part that identifies the mail: up to the first `:`. */
export function baseOf(name: string): string {
  const colon = name.indexOf(':')
  return colon === -1 ? name : name.slice(0, colon)
}

/** A size from the name: `S` on disk, `W` virtual; -1 when it is not there or no number. */
export function sizeInName(name: string, key: 'S' | 'W'): number {
  const start = name.indexOf(`,${key}=`)
  if (start === -1) return -1
  let value = -1
  for (let i = start + 3; i < name.length; i++) {
    const digit = name.charCodeAt(i) - 48
    if (digit >= 0 && digit <= 9) value = (value === -1 ? 0 : value * 10) + digit
    else return name[i] === ',' || name[i] === ':' ? value : -1
  }
  return value <= Number.MAX_SAFE_INTEGER ? value : -1
}

/** The flag letters, without what other programs put behind a second comma. */
export function flagsOf(name: string): string {
  const info = name.indexOf(':2,')
  if (info === -1) return ''
  const end = name.indexOf(',', info + 3)
  return name.slice(info + 3, end === -1 ? undefined : end)
}

/** Adds the letters of a name that stand for keywords: `a` to `z` among its flags. */
export function addLetters(letters: Set<string>, name: string): void {
  const info = name.indexOf(':2,')
  if (info === -1) return
  for (let i = info + 3; i < name.length && name[i] !== ','; i++) {
    if (name[i]! >= 'a' && name[i]! <= 'z') letters.add(name[i]!)
  }
}

/** Looked for in every name of a mailbox, so without cutting out the flags. */
export function isSeen(name: string): boolean {
  const info = name.indexOf(':2,')
  if (info === -1) return false
  for (let i = info + 3; i < name.length; i++) {
    if (name[i] === 'S') return true
    if (name[i] === ',') return false
  }
  return false
}

/** The name with one more flag, or one less; letters in ASCII order, unknown ones and the rest kept. */
export function withFlag(name: string, flag: string, on: boolean): string {
  const info = name.indexOf(':2,')
  if (info === -1) return on ? `${baseOf(name)}:2,${flag}` : name
  const end = name.indexOf(',', info + 3)
  const flags = new Set(name.slice(info + 3, end === -1 ? undefined : end))
  if (on) flags.add(flag)
  else flags.delete(flag)
  return `${name.slice(0, info + 3)}${[...flags].sort().join('')}${end === -1 ? '' : name.slice(end)}`
}

/** Whether a folder entry can be a mail: no dot file, and no name that would break the uid list. */
export function isMailName(name: string): boolean {
  const first = name.charCodeAt(0)
  // Not '.', and not ':' first: that would be an empty base.
  return first !== 46 && first !== 58 && !/[\r\n\0]/.test(name)
}

/** What a name is ordered by, taken out of it once. */
export interface NameOrder {
  readonly name: string
  readonly seconds: number
  /** -1: it has none. */
  readonly microseconds: number
  /** Where the part behind the seconds begins. */
  readonly rest: number
}

export function orderOf(name: string): NameOrder {
  const rest = digitsFrom(name, 0)
  return { name, seconds: numberIn(name, 0, rest), microseconds: microseconds(name, rest), rest }
}

/**
 * Order in which new mails get their UIDs, the same as Dovecot's: seconds of the name, then microseconds (an `M` in
 * the part behind) when both have them, then the octets behind the seconds, where the end of a name counts as the
 * `:` that would follow and octets from 0x80 on come first. It does not depend on the order a folder is read in, so a
 * lost list is rebuilt the same.
 */
export function compareOrders(a: NameOrder, b: NameOrder): number {
  if (a.seconds !== b.seconds) return a.seconds - b.seconds
  if (a.microseconds !== b.microseconds && a.microseconds !== -1 && b.microseconds !== -1) {
    return a.microseconds - b.microseconds
  }
  const { name: x, rest: atX } = a
  const { name: y, rest: atY } = b
  for (let i = 0; atX + i < x.length || atY + i < y.length; i++) {
    const difference = signedAt(x, atX + i) - signedAt(y, atY + i)
    if (difference !== 0) return difference
  }
  return x.length - y.length
}

export const compareNames = (a: string, b: string): number => compareOrders(orderOf(a), orderOf(b))

function digitsFrom(name: string, start: number): number {
  let end = start
  while (name.charCodeAt(end) >= 48 && name.charCodeAt(end) <= 57) end++
  return end
}

function numberIn(name: string, start: number, end: number): number {
  let value = 0
  for (let i = start; i < end; i++) value = value * 10 + name.charCodeAt(i) - 48
  return value
}

function microseconds(name: string, from: number): number {
  if (name[from] !== '.') return -1
  const dot = name.indexOf('.', from + 1)
  const at = name.indexOf('M', from + 1)
  if (at === -1 || (dot !== -1 && dot < at)) return -1
  return numberIn(name, at + 1, digitsFrom(name, at + 1))
}

const colon = 58

function signedAt(name: string, at: number): number {
  if (at >= name.length) return colon
  const octet = name.charCodeAt(at)
  return octet < 128 ? octet : octet - 256
}

/** Path of a mail; a Buffer when the name has octets that a string of UTF-8 would change. */
export function mailPath(folder: string, name: string): string | Buffer {
  if (/^[\x00-\x7f]*$/.test(name)) return `${folder}/${name}`
  return Buffer.concat([Buffer.from(`${folder}/`), Buffer.from(name, 'latin1')])
}
