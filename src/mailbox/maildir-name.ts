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

export const isSeen = (name: string): boolean => flagsOf(name).includes('S')

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

/**
 * Order in which new mails get their UIDs: seconds of the name, then microseconds when both have them, then the
 * octets. The same whatever order the folder is read in, so a lost list is rebuilt the same.
 */
export function compareNames(a: string, b: string): number {
  const secondsA = leadingNumber(a)
  const secondsB = leadingNumber(b)
  if (secondsA !== secondsB) return secondsA - secondsB
  const microsA = microseconds(a)
  const microsB = microseconds(b)
  if (microsA !== -1 && microsB !== -1 && microsA !== microsB) return microsA - microsB
  return a < b ? -1 : a > b ? 1 : 0
}

function leadingNumber(name: string): number {
  const value = Number.parseInt(name, 10)
  return Number.isNaN(value) ? 0 : value
}

function microseconds(name: string): number {
  const dot = name.indexOf('.M')
  if (dot === -1) return -1
  const value = Number.parseInt(name.slice(dot + 2), 10)
  return Number.isNaN(value) ? -1 : value
}

/** Path of a mail; a Buffer when the name has octets that a string of UTF-8 would change. */
export function mailPath(folder: string, name: string): string | Buffer {
  if (/^[\x00-\x7f]*$/.test(name)) return `${folder}/${name}`
  return Buffer.concat([Buffer.from(`${folder}/`), Buffer.from(name, 'latin1')])
}
